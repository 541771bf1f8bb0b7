# Everything a developer runs; `just` lists it. Users need only the Makefile.
set shell := ["bash", "-euo", "pipefail", "-c"]

bin := justfile_directory() / ".venv/bin"
uv := bin / "uv"
together := "-n 3 --dist loadfile --no-loadscope-reorder"
code := "kit cli client fakes signing configuration services gateway console tools tests typings"

default:
    @{{bin}}/just --list

# Build or refresh the virtual environment
setup:
    @make --no-print-directory setup

# What CI runs. All of it runs, whatever fails; what failed is named at the end
check:
    @failed=""; rm -f .venv/unstable.log; \
    {{just_executable()}} types >.venv/types.log 2>&1 & types=$!; \
    for recipe in format-check lint typos layers gen-check docs-check lock-check protos signing dead; do \
        {{just_executable()}} "$recipe" || failed="$failed $recipe"; \
    done; \
    wait $types || failed="$failed types"; \
    cat .venv/types.log; \
    [ -z "$failed" ] || echo "== FAILED before the tests:$failed" >&2; \
    for recipe in tests-together tests-alone zone; do \
        {{just_executable()}} "$recipe" || failed="$failed $recipe"; \
    done; \
    cat .venv/unstable.log 2>/dev/null || true; \
    [ -z "$failed" ] || { echo "== FAILED:$failed" >&2; exit 1; }

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

# The console's translations after a text was added or changed; commit both files
texts:
    @{{bin}}/python tools/console_texts.py

# Note new names that are data in tests/frozen_names.txt; with --drop, take out those that are gone
freeze *args:
    @{{bin}}/python tools/freeze.py {{args}}

# Rewrite the generated pages of docs/, and note new names
docs: freeze
    @{{bin}}/python tools/docs.py

# Build the partners' pages, which the gateway serves at /docs
site:
    @{{bin}}/python -m tools.partner_site

docs-check:
    @echo "== generated docs"
    @{{bin}}/python tools/docs.py --check

# Lint the contract with buf where node can install it; says so where it cannot
protos:
    @echo "== protos"
    @bash tools/protos.sh

# The partners' signing clients against openssl's vectors; says which of them it cannot run here
signing *args:
    @echo "== signing clients"
    @{{bin}}/python tools/signing_vectors.py --check
    @{{bin}}/python tools/signing_clients.py {{args}}

# The MySQL text loads in a real MariaDB where one is installed; says so where none is
mysql:
    @echo "== mysql"
    @if PATH=$PATH:/usr/sbin command -v mariadbd >/dev/null; then bash tools/mariadb.sh; \
    else echo "mariadb: not run, not installed"; fi

# By hand, on a quiet machine: everything rolled twice, longer faults, shards moved between servers with TLS and one of
# them killed; as root, a server cut off one way. POSTGRES_BIN: a PostgreSQL with TLS (tools/postgres_17.sh)
cluster postgres_bin:
    SHOUDAN_TEST_ROLLS=2 SHOUDAN_TEST_FAULT_S=30 {{bin}}/python -m pytest -v tests/cluster
    {{bin}}/python tools/shards.py {{postgres_bin}}
    [ "$(id -u)" != 0 ] || {{bin}}/python tools/partitions.py

# By hand: two replicas of everything under faults drawn from a seed, then the laws; the report is docs/chaos.
# --tier commit (4 minutes) or hour, --known with the seeds that once broke a law
chaos *args:
    @{{bin}}/python -m tests.chaos.run {{args}}

# By hand: pairs of calls at the same moment through two gateways, each pair so often
races times="200":
    SHOUDAN_RACES={{times}} {{bin}}/python -m pytest -v tests/system/test_races.py

# By hand: every fault point of an order's life, failed at in every way, for every way an order may end
sweep *args:
    @{{bin}}/python -m tests.chaos.sweep {{args}}

# By hand: a million transitions of the product on stores in memory, every law after each commit (docs/chaos/simulation.md)
simulate *args:
    @{{bin}}/python -m tests.simulation.main {{args}}

# By hand: 21 000 inputs (--inputs N) for all gRPC methods, for all HTTP endpoints, and a share of them for each parser;
# --hour also fuzzes the parsers by coverage and asks every HTTP operation by schemathesis; the figures are in docs/chaos
fuzz *args:
    @{{bin}}/python -m tests.fuzz.run {{args}}

# By hand: the bugs of tests/mutants, each made in turn; the tests must find all. Or those that are named
mutants *names:
    {{bin}}/python -m tools.mutants {{names}}

# By hand: every reached line of the areas of tests/mutation changed in small ways; goes on where it stopped, --anew from
# the start. The figures are docs/chaos/mutation.md
mutation *areas:
    {{bin}}/python -m tests.mutation.run {{areas}}

# Code and dependencies that nothing uses
dead:
    @echo "== dead code"
    @{{bin}}/vulture
    @{{bin}}/deptry kit cli fakes signing services gateway console >.venv/deptry.log 2>&1 || { cat .venv/deptry.log >&2; exit 1; }

types:
    @echo "== types"
    @{{bin}}/pyright

# All tests, or what is named: just test tests/kit -k money
test *args:
    @{{bin}}/python -m pytest {{args}}

# The first stage of all tests: three workers, each with servers of its own, a file at a time; on a host in China's
# zone, for a time read in the host's zone is right in UTC by chance. Written so that no zone files are needed
tests-together $TZ="CST-8":
    @echo "== tests, three at a time"
    @rm -rf .venv/together
    @{{bin}}/python -m pytest {{together}} -o cache_dir=.venv/together -m "not alone" || bash tools/second_look.sh

# The second stage: what measures time or takes the whole machine, with nothing beside it
tests-alone:
    @echo "== tests, one at a time"
    @{{bin}}/python -m pytest -m alone $(grep -rl --include='*.py' 'pytest\.mark\.alone(' tests)

# What handles time, on a host in UTC
zone $TZ="UTC":
    @echo "== zone"
    @{{bin}}/python -m pytest -q {{together}} tests/order/test_reports.py tests/order/test_audits.py \
        tests/order/test_parked.py tests/pay/ledger/test_upstream_bugs.py tests/kit/tasks/test_operations.py tests/kit/db/test_text_statements.py \
        tests/kit/db/test_partitions.py tests/kit/test_clock.py tests/kit/test_ids.py tests/signing \
        tests/erp_ingest/test_reading.py tests/erp_ingest/test_ingest.py tests/erp_ingest/test_subjects.py

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

# The locks hold what pyproject.toml asks for, the bill of materials what they pin
lock-check:
    @echo "== locks"
    @bash tools/lock.sh --check
    @{{bin}}/python -m tools.sbom --check

# The bill of materials of the image, from requirements-run.lock; commit it with the lock
sbom:
    @{{bin}}/python -m tools.sbom

# Known weaknesses of what the locks pin; ends with an error when there is one, says so where the index tells none
advisories:
    @echo "== advisories"
    @{{bin}}/python -m tools.advisories
