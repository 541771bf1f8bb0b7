"""Regenerate protos/gen from protos/shoudan; with --check, fail if anything would change."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

PROTOS = Path(__file__).resolve().parent.parent / "protos"
GEN = PROTOS / "gen"
STATUSES = PROTOS / "statuses.py"  # written by hand, part of the package


def generate(out: Path) -> None:
    """Write the Python modules and stubs of every .proto under `out`."""
    sources = sorted(
        p.relative_to(PROTOS).as_posix() for p in (PROTOS / "shoudan").rglob("*.proto")
    )
    outputs = [
        f"--python_out={out}",
        f"--grpc_python_out={out}",
        f"--mypy_out=quiet:{out}",
        f"--mypy_grpc_out=quiet,only_async:{out}",
    ]
    # The mypy plugins are scripts beside this interpreter, whether or not PATH knows them.
    scripts = Path(sys.executable).parent
    plugins = [
        f"--plugin={name}={scripts / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
    ]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", *plugins, *outputs]
    subprocess.run([*command, *sources], check=True)
    package = out / "shoudan"
    package.mkdir(exist_ok=True)
    for folder in (package, *(p for p in package.rglob("*") if p.is_dir())):
        (folder / "__init__.py").touch()
    (package / "py.typed").touch()
    (package / STATUSES.name).write_bytes(STATUSES.read_bytes())


def contents(root: Path) -> dict[Path, bytes]:
    """Every generated file under `root`, by relative path."""
    found = (p for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return {p.relative_to(root): p.read_bytes() for p in found}


def replace(fresh: dict[Path, bytes], current: dict[Path, bytes]) -> None:
    """Make protos/gen equal `fresh`, touching only files that differ."""
    for name in current.keys() - fresh.keys():
        (GEN / name).unlink()
    for name, body in fresh.items():
        if current.get(name) != body:
            (GEN / name).parent.mkdir(parents=True, exist_ok=True)
            (GEN / name).write_bytes(body)


def main() -> int:
    """Write protos/gen, or with --check only compare; 1 when it is stale."""
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh, current = contents(Path(scratch)), contents(GEN)
    if "--check" not in sys.argv[1:]:
        replace(fresh, current)
        return 0
    stale = sorted(n for n in fresh.keys() | current.keys() if fresh.get(n) != current.get(n))
    for name in stale:
        print(f"protos/gen/{name} is stale: run `just gen` and commit it", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
