"""Makes each bug of tests/mutants in a copy of its package, and says which of them the tests let live.

    python -m tools.mutants [NAME …]

Two at a time. Exit code 1 when one lives. PYTHONPATH puts the copy before the installed package.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[1]
AT_ONCE = 2
SECONDS_MAX = 300


def killed(mutant: Mutant) -> tuple[bool, str]:
    """Whether its tests fail on it, and what they said last."""
    source = ROOT / mutant.path
    package = next(one for one in source.parents if one.name.startswith("shoudan_"))
    with tempfile.TemporaryDirectory(prefix="shoudan-mutant-") as folder:
        copy = Path(folder) / package.name
        shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
        changed = copy / source.relative_to(package)
        changed.write_text(source.read_text().replace(mutant.was, mutant.now, 1))
        argv = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutant.tests]
        try:
            done = subprocess.run(
                argv,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": folder},
                capture_output=True,
                text=True,
                timeout=SECONDS_MAX,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return True, f"its tests hang: {SECONDS_MAX} s"
    last = (done.stdout.strip().splitlines() or ["nothing"])[-1]
    # 1: tests failed. Anything else than that says nothing about the bug.
    if done.returncode not in {0, 1}:
        raise SystemExit(
            f"{mutant.name}: pytest ended with {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done.returncode == 1, last


def main(names: list[str]) -> int:
    """Run all, or the named ones."""
    chosen = [one for one in MUTANTS if not names or one.name in names]
    began, alive = time.monotonic(), 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for mutant, (dead, said) in zip(chosen, pool.map(killed, chosen), strict=True):
            alive += not dead
            print(f"{'killed' if dead else 'LIVES '}  {mutant.name}: {said}", flush=True)
    print(f"{len(chosen) - alive} of {len(chosen)} killed in {time.monotonic() - began:.0f} s")
    return 1 if alive else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
