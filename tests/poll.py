"""Waiting for something to become true, with a deadline instead of a guess."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from shoudan_kit.process.polling import until


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
