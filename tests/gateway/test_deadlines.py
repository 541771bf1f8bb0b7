"""What takes too long ends as late; what is cancelled from elsewhere, or in time, does not."""

from __future__ import annotations

import asyncio
import time

import pytest

from shoudan_gateway.deadlines import LOOK_EVERY_S, Deadlines

SLACK_S = 2.0  # of a busy machine


async def test_a_request_ends_when_its_time_is_over_and_others_go_on() -> None:
    deadlines, answers = Deadlines(), asyncio.Event()

    async def request(seconds: float) -> str:
        async with deadlines.until(time.monotonic() + seconds):
            await answers.wait()
            return "answered"

    patient = [asyncio.create_task(request(60)) for _ in range(3)]
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await request(0.1)
    assert 0.1 <= time.monotonic() - began < 0.1 + LOOK_EVERY_S + SLACK_S
    assert not any(one.done() for one in patient)
    answers.set()
    assert await asyncio.gather(*patient) == ["answered"] * 3
    assert await request(0) == "answered", (
        "a deadline that is over ends what waits, not what is done"
    )


async def test_a_late_request_leaves_no_cancellation_behind() -> None:
    deadlines = Deadlines()

    async def request() -> int:
        with pytest.raises(TimeoutError):
            async with deadlines.until(time.monotonic()):
                await asyncio.Event().wait()
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert await asyncio.create_task(request()) == 0


async def test_what_is_cancelled_from_elsewhere_is_not_late() -> None:
    deadlines, began = Deadlines(), asyncio.Event()

    async def request() -> None:
        async with deadlines.until(time.monotonic()):
            began.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(request())
    await began.wait()
    task.cancel()
    deadlines._end_those_over()  # the same moment
    with pytest.raises(asyncio.CancelledError):
        await task
