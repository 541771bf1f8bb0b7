"""Every stop ends in bounded time, whatever hangs, and says what hung."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

from shoudan_kit.events import relay as events_relay
from shoudan_kit.events.nats import Bus
from shoudan_kit.events.relay import Relay
from shoudan_kit.process import shutdown
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from tests.poll import eventually


async def swallow_once(begun: asyncio.Event) -> None:
    """As asyncio.wait_for may: a cancellation that comes with the result is lost."""
    begun.set()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return


async def test_a_relay_stops_though_its_publish_swallowed_the_cancellation(
    database, ids, monkeypatch
):
    begun = asyncio.Event()

    async def publish(*_: object) -> None:
        await swallow_once(begun)

    made = Bus("nats://127.0.0.1:1", "test")
    relay = Relay(made, database, "test")
    monkeypatch.setattr(made, "publish", publish)
    monkeypatch.setattr(type(relay._refill), "looked", True)
    relay.start()
    async with UnitOfWork(database, ids, None, relay) as work:
        work.events.add("shoudan.events.t.x", key="k", body=events_relay.Timestamp())
    await begun.wait()
    async with asyncio.timeout(8):
        await relay.stop()
    assert all(loop.done() for loop in relay._loops)


async def test_tasks_are_cancelled_until_they_end_and_those_that_never_do_are_counted():
    begun = asyncio.Event()

    async def stubborn() -> None:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    async def forgetful() -> None:
        await swallow_once(begun)
        await asyncio.Event().wait()

    over = asyncio.Event()
    never, late = asyncio.create_task(stubborn()), asyncio.create_task(forgetful())
    await begun.wait()
    assert await shutdown.cancel_all([late]) == 0
    assert await shutdown.cancel_all([never], 0.2) == 1
    over.set()
    await never


async def test_a_step_that_hangs_or_fails_is_cut_off_and_the_stop_goes_on():
    async def fails() -> None:
        raise ValueError

    async def works() -> None:
        pass

    assert not await shutdown.bounded("hangs", asyncio.Event().wait(), 0.1)
    assert not await shutdown.bounded("fails", fails(), 1)
    assert await shutdown.bounded("works", works(), 1)


HANGING = """
import asyncio, time
from shoudan_kit import service
from shoudan_kit.config import ProcessSettings

service.STOP_GRACE_S = 1.0

async def start(app):
    async def hang():
        {how}
    print("up", flush=True)
    return service.Running(closers=(hang,))

service.run(service.Service("hangs", ProcessSettings, start))
"""


async def stopped(how: str) -> tuple[int, float]:
    """Exit code and seconds from SIGTERM to the end of a process that hangs like this when it stops."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        HANGING.format(how=how),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"SHOUDAN_DRAIN_S": "0.5", "PATH": "/usr/bin:/bin"},
    )
    assert process.stdout is not None
    try:
        while b"serving" not in await process.stdout.readline():
            assert process.returncode is None
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        await eventually(lambda: process.returncode is not None, 20)
        return process.returncode or 0, time.monotonic() - began
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_process_whose_closer_waits_endlessly_stops_by_itself():
    code, seconds = await stopped("await asyncio.Event().wait()")
    assert code in {0, shutdown.EXIT_LATE}
    assert seconds < 10


async def test_a_process_whose_event_loop_hangs_exits_after_its_grace():
    code, seconds = await stopped("time.sleep(1000)")
    assert code == shutdown.EXIT_LATE
    assert seconds < 10


CRASH = """
import os, signal
from shoudan_kit import service

def crash(work):
    work.close()
    os.kill(os.getpid(), signal.SIGSEGV)

service.uvloop.run = crash
service.run(service.services()["gateway"])
"""


def test_a_service_that_crashes_below_python_leaves_its_stacks():
    env = {name: text for name, text in os.environ.items() if not name.startswith("SHOUDAN_")}
    ended = subprocess.run(
        [sys.executable, "-c", CRASH], env=env, capture_output=True, text=True, check=False
    )
    assert ended.returncode == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in ended.stderr
    assert "in crash" in ended.stderr
