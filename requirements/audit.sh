#!/bin/sh
# Known vulnerabilities of what we pin. The list comes from the network: without it we say so and go on.
set -eu
cd "$(dirname "$0")/.."
report=$(mktemp)
trap 'rm -f "$report"' EXIT
status=0
# --strict: a package that cannot be looked up counts as a failure, not as a package without vulnerabilities.
timeout 20 .venv/bin/python -m pip_audit --strict --progress-spinner off --disable-pip --no-deps \
    -r requirements/base.txt > "$report" 2>&1 || status=$?
if [ "$status" = 0 ]; then
    echo "pip-audit: no known vulnerabilities"
elif grep -q '^Found .* known vulnerabilit' "$report"; then
    cat "$report"
    exit 1
else
    echo "pip-audit: skipped, its list of vulnerabilities cannot be reached"
fi
