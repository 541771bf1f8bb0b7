"""Waiting for something to become true, with a deadline instead of a guess."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from shoudan_kit.process.polling import until
from shoudan_kit.process.shutdown import cancel_all

TICK_S: Final = 0.01
LATE_S_MAX: Final = 0.05


async def eventually(
    predicate: Callable[[], object | Awaitable[object]],
    within_s: float = 10,
    *,
    every_s: float = 0.01,
) -> None:
    """Ask until the answer is truthy; an AssertionError names what did not come true in time."""

    async def happened() -> bool:
        answer = predicate()
        return bool(await answer if isinstance(answer, Awaitable) else answer)

    if not await until(happened, within_s, every_s=every_s):
        raise AssertionError(
            f"not within {within_s} s: {getattr(predicate, '__qualname__', predicate)}"
        )


@asynccontextmanager
async def own_time() -> AsyncGenerator[Callable[[], float]]:
    """Seconds since then in which this process could run, for what happens within it.

    A tick that comes late by more than a few of its kind was not run: what a busy machine takes away from
    us is not counted. On a machine with nothing else to do these are the seconds of a clock.
    """
    ran, last = 0.0, time.monotonic()

    def so_far() -> float:
        return ran + min(time.monotonic() - last, LATE_S_MAX)

    async def poll() -> None:
        nonlocal ran, last
        while True:
            await asyncio.sleep(TICK_S)
            ran, last = so_far(), time.monotonic()

    ticking = asyncio.ensure_future(poll())
    try:
        yield so_far
    finally:
        await cancel_all([ticking])
