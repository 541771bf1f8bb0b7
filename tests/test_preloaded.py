"""A process that is forked from the nursery is, to who started it, what it would be by itself."""

from __future__ import annotations

import os
import signal
import sys
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shoudan_cli.main import PIPE_COLUMNS
from shoudan_kit.process.child import Child
from shoudan_kit.process.ports import free_port, listens
from tests.poll import eventually
from tests.preloaded import KNOWN, Nursery, fits

SERVE = [sys.executable, "-m", "shoudan_cli", "serve"]
# A run of tests that starts a sandbox, says its pid and goes on for ever.
RUN = """
import os, select, signal, sys
from pathlib import Path
from tests.preloaded import Nursery
argv = [sys.executable, "-m", "shoudan_fakes", "upstream", "--port", sys.argv[1]]
env = {"HOME": "/nowhere"}
nursery = Nursery()
while not nursery.ready:
    select.select([nursery._line], [], [])
started = nursery.spawn(argv, env=env, output=Path(os.devnull), death_signal=signal.SIGKILL)
print(started.pid, flush=True)
signal.pause()
"""


@pytest.fixture
async def own() -> AsyncIterator[Nursery]:
    made = Nursery()
    await eventually(lambda: made.ready, 60)
    yield made
    made.close()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_it_says_and_ends_as_the_one_that_loads_itself(
    own: Nursery, nursery: Nursery, tmp_path: Path
) -> None:
    env = {"SHOUDAN_PAY_LISTEN_PORT": "x", "COLUMNS": str(PIPE_COLUMNS)}
    said: list[str] = []
    for name in ("forked", "loaded"):
        file, words = tmp_path / name, [*SERVE, "pay"]
        if name == "forked":
            child = own.spawn(words, env=env, output=file, death_signal=signal.SIGKILL)
        else:
            with nursery.away():
                child = Child.spawn(words, env=env, output=file)
        assert await child.wait() == 1
        assert file.stat().st_mode & 0o777 == 0o600
        said.append(file.read_text())
    assert "SHOUDAN_PAY_LISTEN_PORT" in said[0]
    assert said[0] == said[1]


async def test_it_serves_and_is_ended_by_its_pid(own: Nursery, tmp_path: Path) -> None:
    port = free_port()
    words = [sys.executable, "-m", "shoudan_fakes", "upstream", "--port", str(port)]
    child = own.spawn(words, env={}, output=tmp_path / "log", death_signal=signal.SIGKILL)
    await eventually(lambda: listens(child.pid, port), 30)
    assert (child.code, os.getsid(child.pid)) == (None, child.pid)
    child.send(signal.SIGKILL)
    assert await child.wait() == -signal.SIGKILL


async def test_a_run_that_is_killed_leaves_none_alive() -> None:
    port = free_port()
    run = await create_subprocess_exec(
        *(sys.executable, "-c", RUN, str(port)), stdout=PIPE, cwd=Path(__file__).parents[1]
    )
    assert run.stdout is not None
    pid = int(await run.stdout.readline())
    await eventually(lambda: listens(pid, port), 30)
    run.kill()
    await run.wait()
    await eventually(lambda: not alive(pid), 10)


def test_only_what_would_load_the_same_modules_is_forked() -> None:
    for flag, what in KNOWN:
        assert fits([sys.executable, flag, what, "serve", "pay"], {}, None, None)
    assert not fits(["/bin/postgres", "-D", "x", "serve"], {}, None, None)
    assert not fits([*SERVE, "pay"], {"PYTHONPATH": "/an/earlier/commit"}, None, None)
    assert not fits([*SERVE, "pay"], {}, None, Path("/"))
