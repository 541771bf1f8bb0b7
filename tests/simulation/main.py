"""`just simulate`: so many transitions of the product on stores in memory, every law after every commit.

just simulate                          # the tier of a commit: 1 000 000 transitions
just simulate --seed 7 --trace         # one seed, bit for bit, with all that it changed
just simulate --seed 7 --shrink        # the shortest plan that still breaks the same law
just simulate --transitions 100000000 --processes 2 --state simulated.json    # goes on where it stopped
just simulate --mutants                # which of the bugs of tests/mutants it finds
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
KNOWN: Final = Path(__file__).with_name("known_bad.txt")
COMMIT: Final = 1_000_000
MUTANT: Final = "SHOUDAN_SIMULATED_MUTANT"
MUTANT_SEEDS: Final = 6  # and those that once broke a law
GARBAGE: Final = 200_000
SECONDS_MAX: Final = 900


def mutate() -> None:
    """Load one module of the product with the bug that the environment names, before it is imported."""
    name = os.environ.get(MUTANT)
    if not name:
        return
    from importlib.machinery import SourceFileLoader

    from tests.mutants.mutants import MUTANTS

    (mutant,) = (one for one in MUTANTS if one.name == name)
    path, load = ROOT / mutant.path, SourceFileLoader.get_code

    def loaded(self: SourceFileLoader, fullname: str) -> Any:
        if Path(self.path) != path:
            return load(self, fullname)
        source = path.read_text().replace(mutant.was, mutant.now)
        return compile(source, self.path, "exec")

    SourceFileLoader.get_code = loaded


def known() -> list[int]:
    """Seeds that once broke a law."""
    lines = KNOWN.read_text(encoding="utf-8").splitlines()
    return [int(line.split()[0]) for line in lines if line and not line.startswith("#")]


def run_seeds(first: int, step: int, least: int) -> None:
    """In a process of its own: seeds until there are so many transitions, a line of JSON for each."""
    mutate()
    from tests.simulation.run import Size, simulate
    from tests.simulation.system import quiet

    quiet()
    gc.freeze()  # the product is not garbage, and a seed makes little that is
    gc.set_threshold(GARBAGE, 20, 100)
    done, bugged = 0, bool(os.environ.get(MUTANT))
    size = Size(orders=150, batch=15, faults=30) if bugged else Size()
    seeds = [*range(1, MUTANT_SEEDS + 1), *known()] if bugged else itertools.count(first, step)
    for seed in seeds:
        began = time.process_time()
        outcome = simulate(seed, size)
        done += outcome.transitions
        said = {name: getattr(outcome, name) for name in SAID}
        print(json.dumps(said | {"cpu_s": time.process_time() - began}), flush=True)
        if outcome.broken or (done >= least and not bugged):
            return


SAID: Final = (
    "seed", "transitions", "statements", "commits", "checks", "orders", "simulated_s", "digest", "broken",
    "faults",
)  # fmt: skip


def one_seed(seed: int, *, trace: bool, shrink: bool) -> int:
    """One seed, with all that it changed, or made short."""
    from tests.simulation.run import Run, Size, shrunk
    from tests.simulation.system import quiet

    quiet()
    size = Size()
    outcome = Run(seed, size).go(print if trace else None)
    print(
        f"seed {seed}: {outcome.transitions} transitions, {outcome.orders} orders, {outcome.digest}"
    )
    print(f"faults {outcome.faults}")
    if not outcome.broken:
        return 0
    print(f"BROKEN {outcome.broken}")
    if shrink:
        print("the shortest plan that still breaks it:")
        for step in shrunk(seed, size, outcome.broken):
            print(step)
    return 1


def worker(first: int, step: int, least: int, mutant: str = "") -> list[dict[str, Any]]:
    """Run a process over its seeds; what it said."""
    command = [sys.executable, "-m", "tests.simulation.main", "--worker"]
    command += [str(first), str(step), str(least)]
    environment = {**os.environ, "PYTHONHASHSEED": "0", MUTANT: mutant}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode and not any(one["broken"] for one in found):
        found.append(
            {"seed": first, "broken": f"ended with {done.stderr[-400:]}", "transitions": 0}
        )
    return found


def many(asked: argparse.Namespace) -> int:
    """Seeds in several processes, to so many transitions in all."""
    state: Path | None = asked.state
    kept: dict[str, Any] = json.loads(state.read_text()) if state and state.exists() else {}
    seed, total, cpu_s = (
        kept.get("next_seed", asked.first),
        kept.get("transitions", 0),
        kept.get("cpu_s", 0.0),
    )
    seeds, faults, began = kept.get("seeds", 0), Counter(kept.get("faults", {})), time.monotonic()
    run_now = 0
    while total < asked.transitions:
        share = min(asked.transitions - total, 5_000_000) // asked.processes + 1
        count = range(asked.processes)
        firsts, steps = [seed + at for at in count], [asked.processes] * asked.processes
        with ThreadPoolExecutor(asked.processes) as pool:
            parts = list(pool.map(worker, firsts, steps, [share] * asked.processes))
        found = [one for part in parts for one in part]
        if broken := [one for one in found if one["broken"]]:
            for one in broken:
                print(f"seed {one['seed']} BROKEN {one['broken']}")
            return 1
        seeds, total = seeds + len(found), total + sum(one["transitions"] for one in found)
        run_now += sum(one["transitions"] for one in found)
        cpu_s += sum(one["cpu_s"] for one in found)
        for one in found:
            faults.update(one["faults"])
        seed = max(one["seed"] for one in found) + 1
        kept = {
            "next_seed": seed,
            "seeds": seeds,
            "transitions": total,
            "cpu_s": cpu_s,
            "faults": faults,
        }
        if state:
            state.write_text(json.dumps(kept))
        wall_s = time.monotonic() - began
        print(
            f"{seeds} seeds, {total} transitions, {sum(faults.values())} faults, {cpu_s:.0f} s of CPU,"
            f" {run_now / wall_s:.0f} transitions/s, {total / cpu_s:.0f} per second of CPU",
            flush=True,
        )
    print(f"faults {dict(faults)}")
    return 0


def bitten(name: str) -> tuple[int, str]:
    """The seed that breaks a law with this bug, and what is broken; 0 when it lives."""
    found = worker(1, 1, 0, name)
    if found and not found[-1]["transitions"]:  # it did not run, which finds no bug
        raise SystemExit(f"{name}: {found[-1]['broken']}")
    return next(((one["seed"], one["broken"]) for one in found if one["broken"]), (0, ""))


def bites(names: list[str]) -> int:
    """Which bugs of tests/mutants the simulation finds: by which seed, by which law."""
    from tests.mutants.mutants import MUTANTS

    lives: list[str] = []
    for mutant in MUTANTS:
        if (names and mutant.name not in names) or not mutant.path.startswith(SEEN):
            continue
        seed, broken = bitten(mutant.name)
        print(f"{mutant.name:48} {f'seed {seed}: {broken[:90]}' if seed else 'LIVES'}", flush=True)
        lives += [] if seed else [mutant.name]
    print(f"{len(lives)} live: {', '.join(lives)}")
    return 1 if names and lives else 0


# What the simulation runs.
SEEN: Final = (
    "services/order", "services/delivery", "services/pay", "kit/shoudan_kit/tasks",
    "kit/shoudan_kit/events", "kit/shoudan_kit/money.py",
)  # fmt: skip


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="just simulate", description=__doc__)
    parser.add_argument("--seed", type=int, help="this seed alone")
    parser.add_argument("--trace", action="store_true", help="print all that it changed")
    parser.add_argument(
        "--shrink", action="store_true", help="look for the shortest plan that breaks it"
    )
    parser.add_argument("--first", type=int, default=1, help="the first of many seeds")
    parser.add_argument("--transitions", type=int, default=COMMIT)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--state", type=Path, help="where it is noted how far it came")
    parser.add_argument("--mutants", nargs="*", help="the bugs of tests/mutants, all or these")
    parser.add_argument("--worker", nargs=3, type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = (
            "0"  # sets of texts have one order, so that a seed is bit for bit
        )
        sys.exit(subprocess.call([sys.executable, "-m", "tests.simulation.main", *sys.argv[1:]]))
    if asked.worker:
        sys.exit(run_seeds(*asked.worker))
    if asked.mutants is not None:
        sys.exit(bites(asked.mutants))
    if asked.seed is not None:
        sys.exit(one_seed(asked.seed, trace=asked.trace, shrink=asked.shrink))
    sys.exit(many(asked))


if __name__ == "__main__":
    main()
