"""The time that a plan gives to what it does: no waiting for anything to come true."""

from __future__ import annotations

import asyncio


async def lasting(seconds: float) -> None:
    """So long a fault lasts, or until the next thing of the plan; nothing is concluded from its end."""
    await asyncio.sleep(max(0.0, seconds))
