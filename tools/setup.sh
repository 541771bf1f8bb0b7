#!/bin/sh
# Build the virtual environment from requirements.lock: Python 3.11 or newer, nothing else.
set -eu
cd "$(dirname "$0")/.."
venv=${1:-.venv}
stop() {
    echo "setup: $1" >&2
    exit 1
}

python=""
for candidate in ${PYTHON:-} python3.11 python3 python3.12 python3.13 python3.14; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || stop "Python 3.11 or newer is needed; name it with PYTHON=/path/to/python3"

# A folder moved or copied from elsewhere has absolute paths that no longer hold.
if [ -d "$venv" ] && ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    rm -rf "$venv"
fi
if [ ! -d "$venv" ]; then
    "$python" -m venv "$venv" || stop "venv failed; on Debian: apt-get install python3-venv"
fi

# uv itself comes from the same lock, checked by hash; pip is only its carrier.
echo "setup: installing the locked packages into $venv"
awk '/^uv==/ {on = 1} on {print} on && !/\\$/ {exit}' requirements.lock >"$venv/uv.lock"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --require-hashes --no-deps -r "$venv/uv.lock"
uv() { "$venv/bin/uv" "$@" --quiet --python "$venv/bin/python"; }
# A mirror that only pip was told about (pip.conf) serves uv as well.
mirror=$("$venv/bin/python" -m pip config get global.index-url 2>/dev/null || true)
if [ -n "${PIP_INDEX_URL:-$mirror}" ] && [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
    export UV_DEFAULT_INDEX="${PIP_INDEX_URL:-$mirror}"
fi
# Compiled once here, the libraries load in half the time at every start.
uv pip install --compile-bytecode --require-hashes --no-deps -r requirements.lock || {
    echo "setup: uv could not; trying again with pip" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --require-hashes --no-deps -r requirements.lock
}
# hatchling is in the lock, so the two distributions build without fetching anything.
uv pip install --no-deps --no-build-isolation -e protos -e .
"$venv/bin/python" -m tools.partner_site # what the gateway serves at /docs
"$venv/bin/python" -m compileall -q kit cli fakes signing services gateway protos/gen || true # only slower without
