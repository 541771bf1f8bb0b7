#!/usr/bin/env bash
# Write the three locks: everything (requirements.lock), what runs in production (requirements-run.lock)
# and what builds it (requirements-build.lock), same versions. Hashes are pinned and no download host is named.
# With --check, only say whether a declared dependency is missing; needs no network.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" = --check ]; then
    exec .venv/bin/python - <<'PY'
import re, sys, tomllib
from pathlib import Path

def names(lines):
    return {re.sub(r"[-_.]+", "-", re.match(r"[A-Za-z0-9._-]+", line)[0]).lower() for line in lines}

def locked(path):
    return names(line for line in Path(path).read_text().splitlines() if "==" in line[:60])

project = tomllib.loads(Path("pyproject.toml").read_text())
protos = tomllib.loads(Path("protos/pyproject.toml").read_text())
run = names(project["project"]["dependencies"] + protos["project"]["dependencies"])
run -= {"shoudan-protos"}
groups = project["dependency-groups"]
build = names(groups["build"])
dev = names(line for line in groups["dev"] if isinstance(line, str))
missing = sorted((run | build | dev) - locked("requirements.lock"))
missing += sorted(run - locked("requirements-run.lock"))
missing += sorted(build - locked("requirements-build.lock"))
if missing:
    sys.exit(f"not in the locks: {', '.join(missing)}; run `just lock`")
PY
fi

upgrade=()
for name in "$@"; do
    upgrade+=(--upgrade-package "$name")
done
compile() {
    .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
        --no-emit-package shoudan-protos ${upgrade[@]+"${upgrade[@]}"} "$@"
}
ours="pyproject.toml protos/pyproject.toml"
compile $ours --group dev -o requirements.lock
compile $ours --constraint requirements.lock -o requirements-run.lock
compile --group build --constraint requirements.lock -o requirements-build.lock
# Licences are those of what is installed: run `make setup` and `just sbom` again after a new package.
.venv/bin/python -m tools.sbom
