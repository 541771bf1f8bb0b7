"""Keeps a set of processes running: start in order of health, start again what dies, drain at the end."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from shoudan_kit.process.child import Child, size, tail
from shoudan_kit.process.polling import until
from shoudan_kit.process.shutdown import cancel_all

BACKOFF_FIRST_S: Final = 0.1
BACKOFF_MAX_S: Final = 5.0
STEADY_S: Final = 30.0  # after living this long, the next death starts with a short wait again
WATCH_S: Final = 2.0
UNHEALTHY_MAX: Final = 5  # looks in a row that must fail before a living process is started again
LOG_BYTES_MAX: Final = 64 * 2**20


class NotStarted(RuntimeError):
    """A process died or was not healthy in time; the text has the end of its output."""


class Runner(Protocol):
    """What can be kept running: a `Process`, or an embedded server."""

    @property
    def name(self) -> str: ...

    @property
    def pid(self) -> int: ...

    @property
    def log_path(self) -> Path: ...

    async def launch(self) -> None:
        """Start and wait until healthy; raises when that does not happen."""
        ...

    async def healthy(self) -> bool: ...

    async def wait(self) -> int: ...

    def send(self, number: int) -> None: ...

    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. `healthy` is asked until it says yes; without it, running is enough.

    `env` is all of its environment: what a process is not given it cannot leak.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    healthy: Callable[[], Awaitable[bool]] | None = None
    ready_s_max: float = 30
    stop_s_max: float = 30


class Process:
    """One program as a child; its output is kept in a file that is cut when it grows too long."""

    def __init__(self, program: Program, log_path: Path) -> None:
        self.program, self.log_path = program, log_path
        self._child: Child | None = None

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def _running(self) -> Child:
        if self._child is None:
            raise NotStarted(f"{self.name} has not been started")
        return self._child

    async def launch(self) -> None:
        """Start it and wait until it is healthy. Raises NotStarted."""
        program, said_before = self.program, size(self.log_path)
        self._child = Child.spawn(
            program.argv,
            env=program.env,
            output=self.log_path,
            death_signal=signal.SIGKILL,  # what it does survives that; an orphan is of no use
        )
        if (
            await until(self._settled, program.ready_s_max, every_s=0.02)
            and self._child.code is None
        ):
            return
        code = self._child.code
        await self._child.stop(signal.SIGKILL)
        why = f"ended with {code}" if code is not None else "was not healthy in time"
        said = tail(self.log_path, start=said_before)
        raise NotStarted(f"{self.name} {why}; {self.log_path} ends:\n{said}")

    async def healthy(self) -> bool:
        if self._child is None or self._child.code is not None:
            return False
        return self.program.healthy is None or await self.program.healthy()

    async def wait(self) -> int:
        return await self._running.wait()

    def send(self, number: int) -> None:
        self._running.send(number)

    async def stop(self) -> None:
        """Ask it to drain; kill it when it takes too long."""
        if self._child:
            self._child.send(signal.SIGCONT)  # a paused process could not obey
            await self._child.stop(signal.SIGTERM, self.program.stop_s_max)

    async def _settled(self) -> bool:
        return self._running.code is not None or await self.healthy()


@dataclass(frozen=True, slots=True)
class Restart:
    """One unwanted end: `code` is None when the process lived but did not answer."""

    name: str
    code: int | None
    count: int

    def __str__(self) -> str:
        why = "does not answer" if self.code is None else f"ended: {_reason(self.code)}"
        return f"{self.name} {why}; restart {self.count}"


@dataclass(slots=True)
class _Kept:
    runner: Runner
    watched: bool
    restarts: int = 0
    failures: int = 0
    launched_at: float = 0.0
    keeper: asyncio.Task[None] | None = None
    up: asyncio.Event = field(default_factory=asyncio.Event)


class Supervisor:
    """Runs runners. `report` is called at every restart; it must not block.

    Not started again: what `stop` was called for. `kill` is an accident, made on purpose by tests.
    """

    def __init__(
        self,
        report: Callable[[Restart | str], None] = print,
        *,
        watch_s: float = WATCH_S,
        unhealthy_max: int = UNHEALTHY_MAX,
    ) -> None:
        """What is watched is looked at every `watch_s`, and started again after `unhealthy_max` bad looks."""
        self._report, self._watch_s, self._unhealthy_max = report, watch_s, unhealthy_max
        self._kept: dict[str, _Kept] = {}
        self._trimmer: asyncio.Task[None] | None = None

    async def start(self, *runners: Runner, watch: bool = False) -> None:
        """Start these at the same time and wait for all of them; what was started before stays.

        With `watch` a process that lives but stays unhealthy is started again, too. When one does
        not come up, those of this call are stopped and its error is raised.
        """
        for runner in runners:
            if runner.name in self._kept:
                raise ValueError(f"there is already a process {runner.name}")
        launches = [asyncio.ensure_future(runner.launch()) for runner in runners]
        try:
            await asyncio.gather(*launches)
        except BaseException:
            await cancel_all(launches)
            await asyncio.gather(*(runner.stop() for runner in runners), return_exceptions=True)
            raise
        for runner in runners:
            self.adopt(runner, watch=watch)

    def adopt(self, runner: Runner, *, watch: bool = False) -> None:
        """Keep what runs already."""
        kept = self._kept[runner.name] = _Kept(runner, watch)
        self._keep(kept)
        if self._trimmer is None:
            self._trimmer = asyncio.create_task(self._trim(), name="trim logs")

    @property
    def names(self) -> list[str]:
        """In the order of their start."""
        return list(self._kept)

    def pid(self, name: str) -> int:
        return self._kept[name].runner.pid

    def restarts(self, name: str) -> int:
        """How often it was started again without being asked to."""
        return self._kept[name].restarts

    def tail(self, name: str, lines: int = 20) -> str:
        """The last lines it wrote."""
        return tail(self._kept[name].runner.log_path, lines)

    def send(self, name: str, number: int) -> None:
        self._kept[name].runner.send(number)

    async def kill(self, name: str) -> None:
        """kill -9, and wait until it is dead. It will be started again."""
        kept = self._kept[name]
        kept.up.clear()
        child_code = asyncio.ensure_future(kept.runner.wait())
        kept.runner.send(signal.SIGKILL)
        await child_code

    def pause(self, name: str) -> None:
        """SIGSTOP: it lives but does nothing."""
        self.send(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self.send(name, signal.SIGCONT)

    async def wait_healthy(self, name: str, timeout_s: float = 30) -> None:
        """Until it is up and healthy. Raises NotStarted when that takes too long."""
        kept = self._kept[name]

        async def fine() -> bool:
            return kept.up.is_set() and await kept.runner.healthy()

        if not await until(fine, timeout_s, every_s=0.02):
            raise NotStarted(f"{name} is not healthy; its output ends:\n{self.tail(name)}")

    async def stop(self, name: str) -> None:
        """Drain it and leave it stopped."""
        kept = self._kept[name]
        await self._let_go(kept)
        await kept.runner.stop()

    async def start_again(self, name: str) -> None:
        """Start again what `stop` has stopped."""
        kept = self._kept[name]
        if kept.keeper is None:
            await kept.runner.launch()
            self._keep(kept)

    async def restart(self, name: str) -> None:
        """Drain it and start it again."""
        await self.stop(name)
        await self.start_again(name)

    async def aclose(self) -> None:
        """Stop everything, the last started first; what started together stops one after the other."""
        if self._trimmer:
            self._trimmer.cancel()
        for kept in self._kept.values():
            await self._let_go(kept)
        for kept in reversed(self._kept.values()):
            await kept.runner.stop()
        self._kept.clear()

    async def _let_go(self, kept: _Kept) -> None:
        kept.up.clear()
        if keeper := kept.keeper:
            kept.keeper = None
            await cancel_all([keeper])

    def _keep(self, kept: _Kept) -> None:
        kept.launched_at = time.monotonic()
        kept.up.set()
        kept.keeper = asyncio.create_task(self._keeper(kept), name=f"keep {kept.runner.name}")

    async def _keeper(self, kept: _Kept) -> None:
        while True:
            code = await self._ended(kept)
            kept.up.clear()
            if time.monotonic() - kept.launched_at > STEADY_S:
                kept.failures = 0
            kept.restarts += 1
            self._report(Restart(kept.runner.name, code, kept.restarts))
            await self._again(kept)

    async def _ended(self, kept: _Kept) -> int | None:
        """The exit code; None when the process had to be ended because it no longer answered."""
        waiting = asyncio.ensure_future(kept.runner.wait())
        misses = 0
        try:
            while True:
                done, _ = await asyncio.wait(
                    {waiting}, timeout=self._watch_s if kept.watched else None
                )
                if done:
                    return waiting.result()
                misses = 0 if await kept.runner.healthy() else misses + 1
                if misses >= self._unhealthy_max:
                    await kept.runner.stop()
                    return None
        finally:
            waiting.cancel()

    async def _again(self, kept: _Kept) -> None:
        """Start it, however often that takes, with growing waits."""
        while True:
            await asyncio.sleep(min(BACKOFF_FIRST_S * 2**kept.failures, BACKOFF_MAX_S))
            kept.failures = min(kept.failures + 1, 10)
            try:
                await kept.runner.launch()
            except (RuntimeError, OSError) as error:
                self._report(f"{kept.runner.name} does not come back: {error}")
                continue
            kept.launched_at = time.monotonic()
            kept.up.set()
            return

    async def _trim(self) -> None:
        while True:
            await asyncio.sleep(30)
            for kept in list(self._kept.values()):
                await asyncio.to_thread(shorten, kept.runner.log_path)


def shorten(path: Path, bytes_max: int = LOG_BYTES_MAX) -> None:
    """Move a log that has grown too long aside, as <name>.1, over the one moved before.

    The writer keeps its file open, so its content is copied and the file cut; it appends, so it
    goes on at the new end. Lines written in between are lost, which a log can bear.
    """
    if size(path) > bytes_max:
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        os.truncate(path, 0)


def python(*arguments: str) -> tuple[str, ...]:
    """The command line of a Python program in this environment."""
    return (sys.executable, *arguments)


def _reason(code: int) -> str:
    if code >= 0:
        return f"code {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
