"""Processes of ours that are forked from one that has loaded their modules, instead of loading them each.

Loading takes longer than all else a service does until it serves. What is forked runs the same `main` with
the environment, the output and the death signal it was asked for, and is killed, paused and waited for by
its pid like any other. Not its own is what the kernel keeps of the execve, /proc/PID/cmdline and
/proc/PID/environ, where tests that look there ask for `loaded_each`; and what modules read of the environment
while they are loaded, which of ours is the width of a console alone.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

from shoudan_cli.main import PIPE_COLUMNS
from shoudan_kit.process import die_with_parent
from shoudan_kit.process.child import Child, User

MAIN: Final = "from shoudan_cli.main import main; main()"
# How the tests and the system start a process of ours, and the module whose `main` that is.
KNOWN: Final = {
    ("-m", "shoudan_cli"): "shoudan_cli.main",
    ("-c", MAIN): "shoudan_cli.main",
    ("-m", "shoudan_fakes"): "shoudan_fakes.commands",
}
# With one of these a process may load other modules than the one it would be forked from.
OTHER_MODULES: Final = (
    "PYTHONPATH",
    "PYTHONHOME",
    "COVERAGE_PROCESS_START",
    "COVERAGE_PROCESS_CONFIG",
)
MESSAGE_BYTES_MAX: Final = 1 << 20

Ask = dict[str, Any]


class Forked:
    """What `Child` needs of a process, for one that the nursery's process is the parent of."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery
        self._fd = os.pidfd_open(pid)

    def __del__(self) -> None:
        os.close(self._fd)

    def poll(self) -> int | None:
        """The exit code, -n after signal n, None while it runs."""
        if self.returncode is None and select.select([self._fd], [], [], 0)[0]:
            self.returncode = self._nursery.code(self.pid)
        return self.returncode


class Nursery:
    """The process with the modules, which loads them from the first look at `ready` on; it dies with us."""

    def __init__(self) -> None:
        self._there = sys.platform == "linux"
        self._loaded = False
        self._parent: subprocess.Popen[bytes] | None = None
        self._line: socket.socket

    @property
    def ready(self) -> bool:
        """Whether it can fork; it is not waited for, the caller's loop has others to answer."""
        if self._parent is None:
            self._start()
        if not self._loaded and select.select([self._line], [], [], 0)[0]:
            self._loaded = json.loads(self._line.recv(MESSAGE_BYTES_MAX))["loaded"]
        return self._there and self._loaded

    @contextmanager
    def away(self) -> Generator[None]:
        """Nothing is forked meanwhile."""
        before, self._there = self._there, False
        try:
            yield
        finally:
            self._there = before

    def spawn(
        self, argv: Sequence[str], *, env: Mapping[str, str], output: Path, death_signal: int
    ) -> Child:
        """As `Child.spawn`, for what `fits`."""
        asked = {
            "module": KNOWN[argv[1], argv[2]],
            "words": list(argv[3:]),
            "env": dict(env),
            "death_signal": int(death_signal),
        }
        fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            forked: Any = Forked(self, self._ask(asked, fd)["pid"])
        finally:
            os.close(fd)
        return Child(forked)

    def code(self, pid: int) -> int:
        """How one ended that has ended."""
        return self._ask({"ended": pid})["code"]

    def _ask(self, message: Ask, *fds: int) -> Ask:
        socket.send_fds(self._line, [json.dumps(message).encode()], fds)
        return json.loads(self._line.recv(MESSAGE_BYTES_MAX))

    def _start(self) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._line, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MESSAGE_BYTES_MAX)
        command = [sys.executable, "-I", "-S", die_with_parent.__file__]
        command += [str(os.getpid()), str(int(signal.SIGKILL)), "-"]
        command += [sys.executable, "-m", "tests.preloaded", str(theirs.fileno())]
        self._parent = subprocess.Popen(
            command,
            cwd=Path(__file__).parents[1],
            env={
                **os.environ,
                "COLUMNS": str(PIPE_COLUMNS),
            },  # as the command has it without a terminal
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()

    def close(self) -> None:
        """End it, and with it whatever of its children still runs."""
        if self._parent is not None:
            self._parent.kill()
            self._parent.wait()
            self._line.close()


def started(
    nursery: Nursery,
    load: Callable[..., Child],
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    output: Path,
    user: User | None = None,
    death_signal: int = signal.SIGKILL,
    cwd: Path | None = None,
) -> Child:
    """`Child.spawn` of the tests: what fits is forked, all else loads what it is, by `load`."""
    if nursery.ready and fits(argv, env, user, cwd):
        return nursery.spawn(argv, env=env, output=output, death_signal=death_signal)
    return load(argv, env=env, output=output, user=user, death_signal=death_signal, cwd=cwd)


def fits(argv: Sequence[str], env: Mapping[str, str], user: User | None, cwd: Path | None) -> bool:
    """Whether it is a service, a command or the sandbox, in this environment, as this user."""
    ours = argv[0] == sys.executable and tuple(argv[1:3]) in KNOWN
    return ours and user is None and cwd is None and not any(name in env for name in OTHER_MODULES)


# ---------------------------------------------------------------- the process with the modules


def main() -> None:
    """Load, then fork for each message; what is forked leaves this function with its own `main`."""
    line = socket.socket(fileno=int(sys.argv[1]))
    _load()
    line.send(json.dumps({"loaded": True}).encode())
    while (received := socket.recv_fds(line, MESSAGE_BYTES_MAX, 1))[0]:
        asked: Ask = json.loads(received[0])
        if "ended" in asked:
            _, status = os.waitpid(asked["ended"], 0)
            answer = {"code": os.waitstatus_to_exitcode(status)}
        else:
            above = os.getpid()
            if not (pid := os.fork()):
                line.close()
                _become(asked, received[1][0], above)()
                return
            os.close(received[1][0])
            answer = {"pid": pid}
        line.send(json.dumps(answer).encode())


def _load() -> None:
    """Everything that a service imports on its way; TLS 1.3 is said before gRPC is there, as in a start."""
    for module in dict.fromkeys(KNOWN.values()):
        importlib.import_module(module)
    from shoudan_kit.tls.versions import only_tls_1_3

    only_tls_1_3()
    importlib.import_module("shoudan_cli.process")
    importlib.import_module("shoudan_kit.service")
    for entry in entry_points(group="shoudan.services"):
        entry.load()
    gc.collect()
    gc.freeze()  # pages of what is loaded stay shared


def _become(asked: Ask, output: int, above: int) -> Callable[[], None]:
    """Take on what `die_with_parent` and execve would give; what is left to do is the program's `main`."""
    os.setsid()
    os.umask(0o077)
    die_with_parent.ask(asked["death_signal"])
    if os.getppid() != above:
        os._exit(1)
    for number in (1, 2):
        os.dup2(output, number)
    os.close(output)
    os.environ.clear()
    os.environ.update(asked["env"])
    time.tzset()
    sys.argv = [asked["module"], *asked["words"]]
    module: Any = sys.modules[asked["module"]]
    return getattr(module, "main", None) or module.app


if __name__ == "__main__":
    main()
