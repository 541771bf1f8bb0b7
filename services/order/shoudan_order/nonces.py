"""Nonces of signed writes: one call each, whatever its outcome, at whichever replica it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from shoudan_order.context import Context
from shoudan_order.store import nonces as store
from shoudan_order.store.nonces import CallNonce

FORGET_S: Final = 30


class Signed(Protocol):
    """A write that may come with the nonce of its call."""

    @property
    def nonce(self) -> CallNonce | None:
        """None of a call without one."""
        ...


def distinct(news: Sequence[Signed]) -> tuple[list[CallNonce], set[int]]:
    """The nonces of a batch, and the calls that repeat the nonce of an earlier one in it."""
    first: dict[tuple[str, str], CallNonce] = {}
    repeated: set[int] = set()
    for new in news:
        one = new.nonce
        if one is not None and first.setdefault((one.channel_no, one.nonce), one) is not one:
            repeated.add(one.call_id)
    return list(first.values()), repeated - {one.call_id for one in first.values()}


def is_replay(new: Signed, replays: set[int]) -> bool:
    """Whether the call of a write is among `replays`."""
    return new.nonce is not None and new.nonce.call_id in replays


async def forget_forever(context: Context) -> None:
    """Delete expired nonces, forever; several processes share the work."""
    while True:
        async with context.app.work("nonces.forget") as work:
            more = await store.forget_expired(work.db)
        if not more:
            await asyncio.sleep(FORGET_S)
