# Everything a developer runs; `just` lists it. Users need only the Makefile.
set shell := ["bash", "-euo", "pipefail", "-c"]

bin := justfile_directory() / ".venv/bin"
uv := bin / "uv"
code := "kit services gateway tools tests typings"

default:
    @{{bin}}/just --list

# Build or refresh the virtual environment
setup:
    @make --no-print-directory setup

# What CI runs, cheapest first. All of it runs, whatever fails; pytest comes last and has the last word
check *args:
    @failed=""; \
    for recipe in format-check lint typos layers gen-check docs-check lock-check protos dead types; do \
        {{just_executable()}} "$recipe" || failed="$failed $recipe"; \
    done; \
    [ -z "$failed" ] || echo "== FAILED before the tests:$failed" >&2; \
    echo "== tests"; \
    {{bin}}/python -m pytest {{args}} || failed="$failed tests"; \
    {{just_executable()}} zone || failed="$failed zone"; \
    [ -z "$failed" ]

# Rewrite all Python in the house format
format:
    @{{bin}}/ruff format {{code}}
    @{{bin}}/ruff check --fix --select I {{code}}

format-check:
    @echo "== format"
    @{{bin}}/ruff format --check --quiet {{code}} || { echo "run: just format" >&2; exit 1; }

lint:
    @echo "== lint"
    @{{bin}}/ruff check --quiet --output-format concise {{code}}

typos:
    @echo "== typos"
    @{{bin}}/typos

# Imports point down, services are strangers to each other
layers:
    @echo "== layers"
    @{{bin}}/lint-imports --no-cache >.venv/layers.log 2>&1 || { cat .venv/layers.log >&2; exit 1; }

# Regenerate protos/gen
gen:
    @{{bin}}/python tools/gen.py

gen-check:
    @echo "== generated code"
    @{{bin}}/python tools/gen.py --check

# Rewrite the generated pages of docs/
docs:
    @{{bin}}/python tools/docs.py

docs-check:
    @echo "== generated docs"
    @{{bin}}/python tools/docs.py --check

# Lint the contract with buf where node can install it; says so where it cannot
protos:
    @echo "== protos"
    @bash tools/protos.sh

# Code and dependencies that nothing uses
dead:
    @echo "== dead code"
    @{{bin}}/vulture
    @{{bin}}/deptry kit services gateway >.venv/deptry.log 2>&1 || { cat .venv/deptry.log >&2; exit 1; }

types:
    @echo "== types"
    @{{bin}}/pyright

# All tests, or what is named: just test tests/kit -k money
test *args:
    @{{bin}}/python -m pytest {{args}}

# What handles time, on a host that is not in UTC
zone:
    @echo "== zone"
    @TZ=Asia/Shanghai {{bin}}/python -m pytest -q tests/order/test_reports.py tests/order/test_audits.py \
        tests/order/test_parked.py tests/pay/test_upstream_bugs.py tests/kit/test_operations.py tests/kit/test_fast.py

# Tests with branch coverage, subprocesses included
coverage *args:
    @{{bin}}/coverage run -m pytest {{args}}
    @{{bin}}/coverage combine --quiet
    @{{bin}}/coverage report --skip-covered --show-missing

# What this release asks of its databases; run when a release is made
release-record:
    @{{bin}}/python tools/record_release.py

# Resolve the dependencies again; names packages to take newer: just lock aiohttp
lock *upgrade:
    @bash tools/lock.sh {{upgrade}}

# The locks hold what pyproject.toml asks for
lock-check:
    @echo "== locks"
    @bash tools/lock.sh --check
