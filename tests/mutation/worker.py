"""Runs tests in processes forked from one that has everything loaded, each with one change made.

A change inside of a function is put into the function where it is, in a fork of a pytest that has collected
its tests: some hundredths of a second. What is done at import needs modules loaded anew, in a fork of a
process that has loaded what is not ours; and so does what lives, once more, with all tests of the area,
before it is believed to live.
"""

from __future__ import annotations

import ast
import gc
import importlib
import importlib.machinery
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Final

import pytest

from tests.mutation.operators import Change

ROOT: Final = Path(__file__).resolve().parents[2]
# What is loaded before pytest is is not ours, so its assertions need not be rewritten.
OPTIONS: Final = (
    *("-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning", "--timeout=20"),
)
OURS: Final = ("shoudan_", "tests")
CPU_S, WALL_S, TIMES = 5, 40, 10  # of one change: these, and so many times what the tests take
OUTPUT: Final = ROOT / ".venv/mutation/output"
MEMORY_BYTES: Final = 4 << 30
LIVES, KILLED, LATE = 0, 1, 2
NAMES: Final = ("lives", "killed", "late")


@dataclass(slots=True)
class Baseline:
    """What the unchanged code does: seconds of each test, and the tests that reach a line of a file."""

    seconds: dict[str, float] = field(default_factory=dict[str, float])
    reached: dict[str, dict[int, set[str]]] = field(default_factory=dict[str, dict[int, set[str]]])
    others: list[str] = field(default_factory=list[str])  # modules that are not ours

    @property
    def total_s(self) -> float:
        """All tests."""
        return sum(self.seconds.values())

    def tests_of(self, path: str, lines: Iterable[int]) -> set[str]:
        """Those that reach one of the lines; "" stands for the import."""
        of = self.reached.get(path, {})
        return {test for line in lines for test in of.get(line, ())}


def forked(work: Callable[[], int], tests_s: float) -> int:
    """How a forked process ends that does the work: LIVES, KILLED or LATE; else the fault is ours."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        _alone(tests_s)
        code = 3
        try:
            code = work()
        finally:
            if (error := sys.exc_info()[1]) is not None:
                traceback.print_exception(error)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return _ended(pid, WALL_S + TIMES * tests_s)


def _alone(tests_s: float) -> None:
    """In the child: a group of its own, bounded; its words are kept until the next one's."""
    os.setpgid(0, 0)
    said = os.open(OUTPUT, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    for fd in (0, 1, 2):
        os.dup2(said, fd)
    cpu = int(CPU_S + TIMES * tests_s)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))


def _ended(pid: int, wall_s: float) -> int:
    fd = os.pidfd_open(pid)
    try:
        select.select([fd], [], [], wall_s)
        done, status = os.waitpid(pid, os.WNOHANG)
        if not done:
            os.killpg(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
    finally:
        os.close(fd)
    if os.WIFSIGNALED(status):
        return LATE if os.WTERMSIG(status) in {signal.SIGKILL, signal.SIGXCPU} else KILLED
    return os.WEXITSTATUS(status)


def steady() -> None:
    """Examples are drawn alike each time, a failure is not made smaller, and no time of day decides."""
    from hypothesis import HealthCheck, Phase, settings

    settings.register_profile(
        "mutation",
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("mutation")


class _Measure:
    """Coverage of the modules, test by test."""

    def __init__(self, paths: Sequence[str]) -> None:
        import coverage

        self.baseline = Baseline()
        self.failed: list[str] = []
        self._coverage = coverage.Coverage(
            data_file=None, include=[str(ROOT / one) for one in paths], config_file=False
        )
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._coverage.switch_context(item.nodeid)
        begun = time.process_time()
        try:
            return (yield)
        finally:
            self.baseline.seconds[item.nodeid] = time.process_time() - begun

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(f"{report.nodeid}\n{report.longreprtext}")

    def end(self) -> Baseline:
        self._coverage.stop()
        data = self._coverage.get_data()
        for path in data.measured_files():
            of = {line: set(tests) for line, tests in data.contexts_by_lineno(path).items()}
            self.baseline.reached[str(Path(path).relative_to(ROOT))] = of
        self.baseline.others = [
            name
            for name in sys.modules
            if not name.startswith(OURS)
            and not name.startswith(("pytest", "_pytest", "_hypothesis"))
        ]
        return self.baseline


def measure(paths: Sequence[str], tests: Sequence[str], into: Path) -> Baseline:
    """Run the tests on the code as it is. Raises SystemExit when they do not pass."""

    def work() -> int:
        steady()
        plugin = _Measure(paths)
        code = pytest.main([*OPTIONS, *tests], plugins=[plugin])
        base = plugin.end()
        said = {
            "code": int(code),
            "failed": plugin.failed,
            "seconds": base.seconds,
            "others": base.others,
            "reached": {
                path: {line: sorted(of) for line, of in lines.items()}
                for path, lines in base.reached.items()
            },
        }
        into.write_text(json.dumps(said))
        return 0

    if forked(work, 60) != 0:
        raise SystemExit("the tests could not be run on the code as it is")
    said = json.loads(into.read_text())
    if said["code"] != 0:
        raise SystemExit(f"the tests do not pass on the code as it is: {said['failed']}")
    reached = {
        path: {int(line): set(of) for line, of in lines.items()}
        for path, lines in said["reached"].items()
    }
    return Baseline(said["seconds"], reached, said["others"])


def preload(names: Sequence[str]) -> None:
    """Load what is not ours, which every fork then has."""
    for name in names:
        with suppress(
            Exception
        ):  # one that another makes on the way, or that cannot be loaded alone
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


@dataclass(frozen=True, slots=True)
class Case:
    """A change, the file it is in and the tests that reach it."""

    path: str
    tree: ast.Module
    change: Change
    tests: frozenset[str]

    def code(self) -> CodeType:
        return self.change.compiled(self.tree, str(ROOT / self.path))


class Warm:
    """A pytest that has collected; for each case a fork runs what reaches it, likely killers first."""

    def __init__(self, cases: Iterable[Case], base: Baseline, on_end: Callable[[Case, int], None]):
        self._cases, self._base, self._on_end = cases, base, on_end
        self._live: dict[str, dict[tuple[str, int], list[FunctionType]]] = {}
        self._kills: Counter[str] = Counter()
        self._failed = False

    def run(self, tests: Sequence[str]) -> None:
        """All cases, one after another, in a process of its own."""
        steady()
        if pytest.main([*OPTIONS, *tests], plugins=[self]) != 0:
            raise SystemExit("the tests could not be collected")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed = self._failed or report.failed

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        gc.collect()
        gc.freeze()
        for case in self._cases:
            names = sorted(
                (name for name in case.tests if name in items),
                key=lambda name: (-self._kills[name], self._base.seconds.get(name, 0.0)),
            )
            functions = self._functions(str(ROOT / case.path))
            seconds = sum(self._base.seconds.get(name, 0.0) for name in names)
            reader, writer = os.pipe()
            chosen = [items[name] for name in names]
            end = forked(partial(self._changed, case, functions, chosen, writer), seconds)
            os.close(writer)
            if killer := os.read(reader, 4096).decode():
                self._kills[killer] += 1
            os.close(reader)
            self._on_end(case, end)
        return True

    def _changed(
        self,
        case: Case,
        functions: dict[tuple[str, int], list[FunctionType]],
        items: list[pytest.Item],
        writer: int,
    ) -> int:
        """In the fork: make the change, run the tests up to the first that fails."""
        for code in _codes(case.code()):
            for one in functions.get((code.co_qualname, code.co_firstlineno), ()):
                if len(one.__code__.co_freevars) == len(code.co_freevars):
                    one.__code__ = code
        for at, item in enumerate(items):
            following = items[at + 1] if at + 1 < len(items) else None
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self._failed:
                os.write(writer, item.nodeid.encode()[:4096])
                return KILLED
        return LIVES

    def _functions(self, path: str) -> dict[tuple[str, int], list[FunctionType]]:
        """The functions of a file that exist now, by name and line."""
        if path not in self._live:
            found: dict[tuple[str, int], list[FunctionType]] = defaultdict(list)
            gc.unfreeze()
            for one in gc.get_objects():
                if isinstance(one, FunctionType) and one.__code__.co_filename == path:
                    found[one.__code__.co_qualname, one.__code__.co_firstlineno].append(one)
            gc.freeze()
            self._live[path] = found
        return self._live[path]


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A code and all that it contains; lambdas of one line are left to the second look."""
    for one in code.co_consts:
        if isinstance(one, CodeType):
            if one.co_name != "<lambda>":
                yield one
            yield from _codes(one)


def loaded_anew(case: Case, tests: Sequence[str], tests_s: float) -> int:
    """All tests, in a fork in which the module is loaded with its change."""
    path = str(ROOT / case.path)

    def work() -> int:
        steady()
        code, before = case.code(), importlib.machinery.SourceFileLoader.get_code

        def changed(loader: Any, name: str) -> Any:
            return code if loader.get_filename(name) == path else before(loader, name)

        pytest.MonkeyPatch().setattr(importlib.machinery.SourceFileLoader, "get_code", changed)
        # 1: tests failed; 2: they could not be collected, for the module does not load or has lost a name.
        done = pytest.main([*OPTIONS, *tests])
        return {0: LIVES, 1: KILLED, 2: KILLED, 4: KILLED}.get(int(done), 3)

    return forked(work, tests_s)
