#!/usr/bin/env bash
# Lint and format-check the contract with buf, from npm, pinned in tools/buf. Where there is no
# node, or buf cannot be installed, this says so and passes: the contract's tests still run.
set -euo pipefail
cd "$(dirname "$0")/.."
buf=tools/buf/node_modules/.bin/buf

not_run() {
    echo "buf: not run ($1)"
    exit 0
}

if [ ! -x "$buf" ]; then
    command -v npm >/dev/null 2>&1 || not_run "no node here"
    timeout 120 npm install --prefix tools/buf --no-save --ignore-scripts --no-audit --no-fund \
        --loglevel=error >/dev/null 2>&1 || not_run "npm could not install it"
fi
"$buf" --version >/dev/null 2>&1 || not_run "it does not start on this machine"

"$buf" lint
"$buf" format --diff --exit-code || {
    echo "run: $buf format --write" >&2
    exit 1
}
# Compared with the commit named, for a pull request: BUF_AGAINST='.git#branch=main'.
if [ -n "${BUF_AGAINST:-}" ]; then
    "$buf" breaking --against "$BUF_AGAINST"
fi
