"""Waiting for something that can only be asked: again and again, with an end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


async def until(
    happened: Callable[[], bool | Awaitable[bool]], timeout_s: float, *, every_s: float = 0.01
) -> bool:
    """Ask again and again until the answer is yes; False when it was not in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = happened()
        if answer if isinstance(answer, bool) else await answer:
            return True
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(every_s)
