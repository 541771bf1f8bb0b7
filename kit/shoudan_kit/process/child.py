"""One child process, which dies with its parent: waited for, signalled, stopped; output goes to a file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shoudan_kit.process import die_with_parent

_POLL_S = 0.02
_TAIL_BYTES_MAX = 8192


@dataclass(frozen=True, slots=True)
class User:
    """An operating system user a child runs as."""

    name: str
    uid: int
    gid: int


class Child:
    """A running or ended process. It leads a process group of its own, so Ctrl-C does not reach it.

    When this process dies, even by SIGKILL, the kernel sends the child `death_signal` (Linux). The
    kernel counts the death of the thread that started it, so start children from the main thread.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @classmethod
    def spawn(
        cls,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        output: Path,
        user: User | None = None,
        death_signal: int = signal.SIGKILL,
        cwd: Path | None = None,
    ) -> Child:
        """Start argv[0] (an absolute path) with exactly `env`; both outputs are added to `output`."""
        owner = f"{user.uid}:{user.gid}" if user else "-"
        command = [sys.executable, "-I", "-S", die_with_parent.__file__]
        command += [str(os.getpid()), str(int(death_signal)), owner, *argv]
        # Without O_APPEND a file made shorter by `shorten` would get a hole in front.
        fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = subprocess.Popen(
                command,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=fd,
                stderr=fd,
                cwd=cwd,
                start_new_session=True,
            )
        finally:
            os.close(fd)
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code, -n after signal n, None while it runs."""
        return self._process.poll()

    async def wait(self) -> int:
        """The exit code, when there is one. Any number of waiters is welcome."""
        while (code := self.code) is None:
            await self._next_change()
        return code

    async def ended(self, within_s: float) -> bool:
        """Whether it ended in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.wait()
        return self.code is not None

    def send(self, number: int) -> None:
        """Send a signal to the process; nothing happens when it has ended."""
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def stop(self, number: int = signal.SIGTERM, within_s: float = 10) -> int:
        """Ask with `number`; kill the whole group when that did not help in time."""
        self.send(number)
        if not await self.ended(within_s):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        return await self.wait()

    async def _next_change(self) -> None:
        """Until the process ends: the kernel reports it where it can, else it is looked up now and then."""
        if sys.platform != "linux":
            await asyncio.sleep(_POLL_S)
            return
        loop = asyncio.get_running_loop()
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        ended = loop.create_future()
        loop.add_reader(fd, lambda: ended.done() or ended.set_result(None))
        try:
            await ended
        finally:
            loop.remove_reader(fd)
            os.close(fd)


def tail(path: Path, lines: int = 20, start: int = 0) -> str:
    """The last lines of a file, read from its end; nothing written before byte `start`."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - _TAIL_BYTES_MAX, 0))
            text = file.read(_TAIL_BYTES_MAX).decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def size(path: Path) -> int:
    """Bytes in a file, 0 when there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
