"""What every environment shares. Reading this module connects to nothing and creates nothing.

Every variable is documented in docs/settings.md.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import environ
from celery.schedules import crontab

BASE_DIR = Path(__file__).resolve().parent.parent.parent
env = environ.Env()

VERSION = "0.1.0"

# --- identity and secrets: no defaults here; local.py and test.py supply theirs, production demands them -------------
SECRET_KEY = env.str("SECRET_KEY", default="")
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
API_KEY_PEPPER = env.str("API_KEY_PEPPER", default="")
FIELD_ENCRYPTION_KEYS = env.list("FIELD_ENCRYPTION_KEYS", default=[])

DEBUG = False
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[])
# The networks of the proxies in front, as CIDR: what they say of a client's address is believed, nobody else.
TRUSTED_PROXIES = env.list("TRUSTED_PROXIES", default=[])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

VAR_DIR = (BASE_DIR / env.str("VAR_DIR", default="var")).resolve()
PORT = env.int("PORT", default=8000)
HOST = env.str("HOST", default="127.0.0.1")
DEMO = env.bool("DEMO", default=True)

# --- applications ----------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "daphne",
    "vla_project.apps.OperationsAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.humanize",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "django_prometheus",
    "core",
    "accounts",
    "collections_app",
    "inference",
    "feedback",
    "pipeline",
    "vla_project.demo",
]

MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "core.middleware.RequestIdMiddleware",
    "core.middleware.BrowserPolicyMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.middleware.AuditContextMiddleware",
    "core.error_pages.ProblemMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

ROOT_URLCONF = "vla_project.urls"
ASGI_APPLICATION = "vla_project.asgi.application"
WSGI_APPLICATION = None

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "django.template.context_processors.i18n",
                "django.template.context_processors.tz",
                "core.context_processors.product",
            ]
        },
    }
]

# --- database --------------------------------------------------------------------------------------------------------
DATABASE_URL = env.str("DATABASE_URL", default="")
DATABASE_POOL = env.bool("DATABASE_POOL", default=False)


def database(url: str) -> dict[str, Any]:
    """The connection described by ``url``; the web process pools, workers keep one connection per thread."""
    config: dict[str, Any] = (
        dict(environ.Env.db_url_config(url)) if url else {"ENGINE": "django.db.backends.postgresql"}
    )
    config["ENGINE"] = "django.db.backends.postgresql"
    config["ATOMIC_REQUESTS"] = False
    options = config.setdefault("OPTIONS", {})
    options.setdefault("application_name", "vla")
    # A connection is tried before it is used: PostgreSQL may have restarted meanwhile.
    config["CONN_HEALTH_CHECKS"] = True
    if DATABASE_POOL:
        config["CONN_MAX_AGE"] = 0
        options["pool"] = {"min_size": 2, "max_size": env.int("DATABASE_POOL_SIZE", default=12), "timeout": 5}
    else:
        config["CONN_MAX_AGE"] = 60
    return config


DATABASES = {"default": database(DATABASE_URL)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Redis: one server, one logical database per purpose -------------------------------------------------------------
REDIS_URL = env.str("REDIS_URL", default="redis://127.0.0.1:6379/0")


def redis_database(offset: int) -> str:
    """``REDIS_URL`` moved ``offset`` logical databases up, so that a flush of a cache cannot touch a queue."""
    parts = urlsplit(REDIS_URL)
    base = int(parts.path.strip("/") or 0)
    return str(urlunsplit(parts._replace(path=f"/{base + offset}")))


REDIS_ENGINE_URL = env.str("REDIS_ENGINE_URL", default=redis_database(0))
REDIS_CACHE_URL = env.str("REDIS_CACHE_URL", default=redis_database(1))
REDIS_BROKER_URL = env.str("REDIS_BROKER_URL", default=redis_database(2))
REDIS_CHANNELS_URL = env.str("REDIS_CHANNELS_URL", default=redis_database(3))
# Publish/subscribe channels ignore the logical database, so their names carry it.
REDIS_PREFIX = f"vla:{urlsplit(REDIS_ENGINE_URL).path.strip('/') or 0}:"

CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_CACHE_URL,
        "KEY_PREFIX": "vla",
        "OPTIONS": {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"},
    }
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_CHANNELS_URL], "prefix": REDIS_PREFIX + "layer"},
    }
}

# --- Celery ----------------------------------------------------------------------------------------------------------
CELERY_BROKER_URL = REDIS_BROKER_URL
CELERY_RESULT_BACKEND = None
CELERY_TASK_IGNORE_RESULT = True
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_TIMEZONE = "UTC"
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 10.0
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 7200,
    # A task held by a worker that was killed returns in seconds, not at kombu's tenth look (docs/running.md).
    "unacked_restore_interval": 2,
    "unacked_restore_throttle": 1,
    "global_keyprefix": REDIS_PREFIX + "celery:",
}
CELERY_TASK_DEFAULT_QUEUE = "pipeline"
CELERY_TASK_ROUTES = {
    "inference.tasks.*": {"queue": "inference"},
    "inference.recording.*": {"queue": "recorder"},
}
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "export-audit-trail": {"task": "accounts.tasks.export_audit_trail", "schedule": crontab(minute=17)},
    "record-key-use": {"task": "accounts.tasks.record_key_use", "schedule": 60.0},
    "forget-expired-tokens": {"task": "accounts.tasks.forget_expired_tokens", "schedule": crontab(minute=37, hour=3)},
    "ensure-partitions": {"task": "pipeline.tasks.ensure_partitions", "schedule": crontab(minute=7, hour="*/6")},
    "resume-stalled-jobs": {"task": "pipeline.tasks.resume_stalled", "schedule": 60.0},
    "apply-retention": {"task": "pipeline.tasks.apply_retention", "schedule": crontab(minute=20, hour=2)},
    "back-up": {"task": "pipeline.tasks.back_up", "schedule": crontab(minute=40, hour=1)},
    "start-nightly-runs": {"task": "pipeline.tasks.start_nightly_runs", "schedule": crontab(minute=10, hour=3)},
    "start-runs-for-feedback": {"task": "pipeline.tasks.start_runs_for_feedback", "schedule": 120.0},
    "embed-backlog": {"task": "pipeline.tasks.embed_backlog", "schedule": 5.0},
    "embed-images": {"task": "pipeline.tasks.embed_images", "schedule": 10.0},
    "look-after-vector-index": {"task": "pipeline.tasks.look_after_vector_index", "schedule": crontab(minute=27)},
    "renew-vectors": {"task": "pipeline.tasks.renew_vectors", "schedule": 60.0},
    "draw-maps": {"task": "pipeline.tasks.draw_maps", "schedule": 300.0},
    "make-feedback-tasks": {"task": "feedback.tasks.make_tasks", "schedule": 10.0},
    "deliver-webhooks": {"task": "feedback.tasks.deliver_due_webhooks", "schedule": 10.0},
    "forget-deliveries": {"task": "feedback.tasks.forget_old_deliveries", "schedule": crontab(minute=50, hour=2)},
}

# --- users, sessions, API --------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
# Staff log in with an authenticator app's code besides their password; production.py turns it on.
STAFF_SECOND_FACTOR_REQUIRED = env.bool("STAFF_SECOND_FACTOR_REQUIRED", default=False)
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"
SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 60 * 60 * 12
CSRF_COOKIE_SAMESITE = "Lax"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.authentication.ApiKeyAuthentication",
        "accounts.authentication.JwtAuthentication",
        "accounts.authentication.BrowserSessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_THROTTLE_CLASSES": ["accounts.throttling.KeyRateThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["core.renderers.OrjsonRenderer"],
    "DEFAULT_PARSER_CLASSES": ["core.parsers.StrictJsonParser"],
    "DEFAULT_PAGINATION_CLASS": "core.pagination.NewestFirstCursorPagination",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "core.exception_handler.problem_json",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=5),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=7),
    "ROTATE_REFRESH_TOKENS": True,
    "ALGORITHM": "HS256",
    "LEEWAY": 10,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "VLA Data Collection System",
    "DESCRIPTION": "Serve vision-language-action policies to robots, record everything, correct it, train on it.",
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "JobStateEnum": "pipeline.choices.JobState",
        "VersionStateEnum": "inference.choices.VersionState",
    },
}

# --- language, time, static files, objects ---------------------------------------------------------------------------
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True
LOCALE_PATHS = [BASE_DIR / "locale"]

STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]

S3_ENDPOINT_URL = env.str("S3_ENDPOINT_URL", default="")
S3_BUCKET = env.str("S3_BUCKET", default="")
# Who encrypts objects: we do, before they leave the process, where there are keys (the first encrypts, all decrypt) ...
OBJECT_ENCRYPTION_KEYS = env.list("OBJECT_ENCRYPTION_KEYS", default=[])
# ... and refuse plain ones once this is on.
OBJECT_ENCRYPTION_REQUIRED = env.bool("OBJECT_ENCRYPTION_REQUIRED", default=False)
# Or the bucket's server does: asked with every write (AES256, aws:kms), or by a rule of its own (bucket).
S3_SERVER_SIDE_ENCRYPTION = env.str("S3_SERVER_SIDE_ENCRYPTION", default="")
S3_KMS_KEY_ID = env.str("S3_KMS_KEY_ID", default="")
OBJECT_ROOT = VAR_DIR / "storage"
OBJECT_URL_SECONDS = 600


def object_storage() -> dict[str, Any]:
    """S3 where a bucket is named, local files under ``VAR_DIR/storage`` otherwise."""
    if S3_BUCKET:
        from botocore.config import Config

        return {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {
                "bucket_name": S3_BUCKET,
                "endpoint_url": S3_ENDPOINT_URL or None,
                "file_overwrite": True,
                "querystring_auth": True,
                "querystring_expire": OBJECT_URL_SECONDS,
                "default_acl": None,
                "client_config": Config(
                    signature_version="s3v4",
                    s3={"addressing_style": "path"},
                    max_pool_connections=32,
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                ),
            },
        }
    return {
        "BACKEND": "core.object_store.LocalObjectStorage",
        "OPTIONS": {"location": OBJECT_ROOT, "allow_overwrite": True},
    }


STORAGES = {
    "default": object_storage(),
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * 1024 * 1024

# --- inference -------------------------------------------------------------------------------------------------------
INFERENCE = {
    "MAX_BODY_BYTES": 8 * 1024 * 1024,
    "MAX_IMAGE_SIDE": 4096,
    "DEFAULT_DEADLINE_MS": env.int("INFERENCE_DEADLINE_MS", default=5000),
    "MAX_DEADLINE_MS": 60_000,
    "MAX_QUEUE": env.int("INFERENCE_MAX_QUEUE", default=256),
    "MAX_BATCH": env.int("INFERENCE_MAX_BATCH", default=64),
    # Unwritten records may hold this much of Redis before new observations are refused with 503.
    "RECORDER_BACKLOG_BYTES": env.int("RECORDER_BACKLOG_BYTES", default=1024 * 1024 * 1024),
    "RECORDER_BATCH": 200,
    # Answers are remembered in Redis for a repeat of their request id this long; then PostgreSQL remembers.
    "ANSWER_SECONDS": 900,
    "SETTINGS_CACHE_SECONDS": 0.5,
    # So many failures in a row open a policy version's circuit, for so long.
    "CIRCUIT_FAILURES": 5,
    "CIRCUIT_OPEN_MS": 5000,
}

# --- pipeline --------------------------------------------------------------------------------------------------------
# A folder with all-MiniLM-L6-v2; empty means the installed package that brings it.
EMBEDDING_MODEL_PATH = env.str("EMBEDDING_MODEL_PATH", default="")
# A folder with a CLIP or SigLIP; empty: pictures are not embedded.
IMAGE_EMBEDDING_MODEL_PATH = env.str("IMAGE_EMBEDDING_MODEL_PATH", default="")
# A backup also keeps what was deleted after it: it goes after so many days, but never the newest one.
BACKUP_DAYS = env.int("BACKUP_DAYS", default=30)

# --- webhooks: networks of our own that they may reach, besides the public internet, as CIDR -------------------------
WEBHOOK_ALLOWED_NETWORKS = env.list("WEBHOOK_ALLOWED_NETWORKS", default=[])


def image_sources() -> list[str]:
    """Where pages may load images from besides ourselves: where signed links to objects lead."""
    if not S3_BUCKET or OBJECT_ENCRYPTION_KEYS:
        return []
    if S3_ENDPOINT_URL:
        return [S3_ENDPOINT_URL]
    region = env.str("AWS_REGION", default=env.str("AWS_DEFAULT_REGION", default=""))
    return ["https://s3.amazonaws.com", *([f"https://s3.{region}.amazonaws.com"] if region else [])]


# --- security: the headers that hold in every environment; production.py adds TLS ------------------------------------
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "core.error_pages.csrf_failure"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:", "blob:", *image_sources()],
        "connect-src": ["'self'"],
        "font-src": ["'self'"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}

LOGGING_CONFIG = None  # core.logging configures structlog when the apps are ready
LOG_FORMAT = env.str("LOG_FORMAT", default="console")
LOG_LEVEL = env.str("LOG_LEVEL", default="INFO")
