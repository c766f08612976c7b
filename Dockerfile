# One image for every role: web, inference worker, recorder, pipeline worker, beat, and the one-off `setup`.
# docker-compose.yml says which command makes which.

FROM python:3.11-slim-bookworm AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH
COPY requirements/ /requirements/
# PyTorch by itself and first, so that the big layer stays when other packages change. A build argument, because the
# processor-only build comes from an index of its own: --build-arg TORCH_OPTIONS="--index-url …"
ARG TORCH_OPTIONS=""
RUN pip install $TORCH_OPTIONS "$(grep '^torch==' /requirements/ml.txt)"
RUN pip install -r /requirements/base.txt -r /requirements/ml.txt -r /requirements/demo.txt

FROM python:3.11-slim-bookworm
# PyBullet and OpenCV are linked against these.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --shell /usr/sbin/nologin vla
COPY --from=packages /venv /venv
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOST=0.0.0.0 \
    VAR_DIR=/app/var \
    DJANGO_SETTINGS_MODULE=vla_project.settings.production
WORKDIR /app
COPY --chown=root:root . .
RUN install -d -o vla -g vla var \
    && env $(grep -v '^#' deploy/check.env) SECRET_KEY="$(head -c 48 /dev/urandom | base64 -w 0)" \
    API_KEY_PEPPER="$(head -c 48 /dev/urandom | base64 -w 0)" python manage.py collectstatic --noinput \
    && chown -R vla:vla var
USER vla
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["python", "-m", "vla_project.server"]
