"""Changes every reached line of the areas' modules in small ways, and says which changes the tests let live.

    python -m tests.mutation.run [AREA …] [--anew]

One process at a time. A run that was stopped goes on where it was: the journal is `.venv/mutation`, which
--anew forgets. What was found stays so while its module is the same; what lives is tried again when tests
have changed. The figures are docs/chaos/mutation.md. Exit code 1 when an area is below its part, or a listed
change is found.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.mutation import worker
from tests.mutation.areas import AREAS, Area
from tests.mutation.operators import Change, changes
from tests.mutation.report import REPORT, write
from tests.mutation.worker import ROOT, Baseline, Case

JOURNAL: Final = ROOT / ".venv/mutation"
EQUIVALENT: Final = Path(__file__).with_name("equivalent.toml")


def equivalents() -> dict[str, str]:
    """Changes that change nothing a test could promise, each with the reason."""
    return tomllib.loads(EQUIVALENT.read_text("utf-8"))


def all_changes(path: str) -> tuple[ast.Module, list[Change]]:
    """A module and its changes; a change is named by the file below its package, which is unique."""
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return tree, changes(tree, path.split("/shoudan_", 1)[1])


class Journal:
    """How each change ended, line by line; the last line of a change counts."""

    def __init__(self, area: str, *, anew: bool) -> None:
        JOURNAL.mkdir(exist_ok=True)
        self._path = JOURNAL / f"{area}.jsonl"
        if anew:
            self._path.unlink(missing_ok=True)
        self._path.touch()

    def read(self, *, first: bool = False) -> dict[str, tuple[str, str, str]]:
        """Last or first end, module and tests by the change's name; a line that was cut short is none."""
        found: dict[str, tuple[str, str, str]] = {}
        for line in self._path.read_text("utf-8").splitlines():
            try:
                key, *rest = json.loads(line)
            except ValueError:
                continue
            if not (first and key in found):
                found[key] = (rest[0], rest[1], rest[2])
        return found

    def write(self, key: str, end: str, module: str, tests: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([key, end, module, tests], ensure_ascii=False) + "\n")


def _digest(paths: Iterator[str] | tuple[str, ...]) -> str:
    return hashlib.sha256(b"".join((ROOT / one).read_bytes() for one in paths)).hexdigest()[:12]


class Run:
    """One area."""

    def __init__(self, name: str, area: Area, *, anew: bool) -> None:
        self.name, self.area = name, area
        self._journal = Journal(name, anew=anew)
        self._tests = _digest(area.tests)
        self._modules = {path: _digest((path,)) for path in area.modules}
        self.cases: dict[str, Case] = {}
        self.unreached: Counter[str] = Counter()
        self._known = equivalents()

    def do(self) -> None:
        """Whatever is not done yet."""
        base = worker.measure(self.area.modules, self.area.tests, JOURNAL / f"{self.name}.base")
        self._find(base)
        worker.preload(base.others)
        done = self._done()
        open_ = [case for key, case in self.cases.items() if key not in done]
        inside = [case for case in open_ if case.change.scope and case.tests != {""}]
        print(
            f"{self.name}: {len(self.cases)} changes, {len(open_)} to try;"
            f" its tests take {base.total_s:.1f} s",
            flush=True,
        )
        pid = os.fork()
        if not pid:
            with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing):
                worker.Warm(inside, base, self._first).run(self.area.tests)
            os._exit(0)
        if os.waitpid(pid, 0)[1] != 0:
            raise SystemExit("the tests could not be run with changes")
        done = self._done()
        for key, case in self.cases.items():
            if key not in done:
                self._note(case, worker.loaded_anew(case, self.area.tests, base.total_s))

    def _find(self, base: Baseline) -> None:
        for path in self.area.modules:
            tree, found = all_changes(path)
            for one in found:
                tests = base.tests_of(path, one.lines) if one.scope else {""}
                if tests:
                    self.cases[one.key] = Case(path, tree, one, frozenset(tests))
                else:
                    self.unreached[path] += 1

    def _done(self) -> dict[str, str]:
        """Ends that hold for the code and the tests as they are."""
        return {
            key: end
            for key, (end, module, tests) in self._journal.read().items()
            if key in self.cases
            and module == self._modules[self.cases[key].path]
            and (end in {"killed", "late"} or (end == "lives" and tests == self._tests))
        }

    def _first(self, case: Case, end: int) -> None:
        """What lives at first is tried once more."""
        if end != worker.LIVES:
            self._note(case, end)

    def _note(self, case: Case, end: int) -> None:
        name = worker.NAMES[end] if end < len(worker.NAMES) else f"fault {end}"
        self._journal.write(case.change.key, name, self._modules[case.path], self._tests)
        if name not in {"killed", "late"} and case.change.key not in self._known:
            where = f"{case.path}:{case.change.lines.start}"
            print(f"{name}  {where}  {case.change.key}", file=sys.stderr, flush=True)

    def figures(self) -> tuple[dict[str, Any], list[str]]:
        """What is published of each module, and what is wrong."""
        done, wrong, began = self._done(), list[str](), self._journal.read(first=True)
        modules: dict[str, Any] = {}
        for path in self.area.modules:
            ends = Counter[str]()
            for key, case in self.cases.items():
                if case.path != path:
                    continue
                end = done.get(key, "not tried")
                if key in self._known and end == "lives":
                    end = "equivalent"
                elif key in self._known:
                    wrong.append(f"found by a test, so not equivalent: {key}")
                ends[end] += 1
            counted = ends["killed"] + ends["late"] + ends["lives"]
            ppm = (ends["killed"] + ends["late"]) * 1_000_000 // max(counted, 1)
            mine = [key for key, case in self.cases.items() if case.path == path and key in began]
            first = sum(began[key][0] != "lives" for key in mine) * 1_000_000 // max(len(mine), 1)
            modules[path] = {
                **ends,
                "unreached": self.unreached[path],
                "score_ppm": ppm,
                "first_ppm": first,
            }
            if ppm < self.area.least_ppm:
                wrong.append(
                    f"{path}: {ppm / 10_000:.1f} %, below {self.area.least_ppm // 10_000} %"
                )
        return modules, wrong


def main(arguments: list[str]) -> int:
    """Run or resume."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("areas", nargs="*", choices=[*AREAS, []], metavar="AREA")
    parser.add_argument("--anew", action="store_true")
    asked = parser.parse_args(arguments)
    commit = subprocess.run(
        ["git", "rev-parse", "--short=10", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    bad = list[str]()
    for name in asked.areas or AREAS:
        # An area in a process of its own, so that one begins with nothing of ours loaded.
        pid = os.fork()
        if not pid:
            os.nice(19)
            os._exit(_one(name, commit, anew=asked.anew))
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0:
            bad.append(name)
    print(f"see {REPORT.relative_to(ROOT)}" + (f"; not well: {', '.join(bad)}" if bad else ""))
    return 1 if bad else 0


def _one(name: str, commit: str, *, anew: bool) -> int:
    began, run = time.monotonic(), Run(name, AREAS[name], anew=anew)
    run.do()
    modules, wrong = run.figures()
    write(name, modules, f"{datetime.now(UTC):%Y-%m-%d}", commit)
    for path, one in modules.items():
        print(f"{one['score_ppm'] / 10_000:6.1f} %  {path}  {one}")
    print(*wrong, f"{name}: {time.monotonic() - began:.0f} s", sep="\n", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
