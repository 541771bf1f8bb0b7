"""Tells the other replicas what is asked of this one and counted here, takes its shares, once a beat."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from shoudan_kit.clock import Clock
from shoudan_kit.db.errors import describe
from shoudan_kit.events.kept import Kept
from shoudan_kit.events.nats import DOWN
from shoudan_kit.limits.shares import Counts, Document, OthersCounts, Shares
from shoudan_kit.log import get_logger

BEAT_S: Final = 1.0
LEASE_S: Final = 5.0  # after which the shares of a silent replica go to the others
TRIES_MAX: Final = 5  # against other replicas that write at the same moment
TRY_AGAIN_S: Final = 0.02

_log = get_logger("shares")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Document).decode


def _nothing_used() -> Mapping[str, float]:
    return {}


def _none() -> Mapping[str, Counts]:
    return {}


def _ignore(_: Mapping[str, Counts]) -> None:
    return


@dataclass(frozen=True, slots=True)
class Sharing:
    """What a service sends and receives at each beat.

    `asked(s)`: the fraction of each party's total that was asked here in the last s seconds.
    `show(members)`: how many share, 0 while NATS is away. `used()`: the fraction that is in use now, as
    calls in flight are. `counts()`: what was counted here since the start. `received(counts)`: what others
    have counted since the beat before; called after every beat, because shares may have changed.
    """

    asked: Callable[[float], Mapping[str, float]]
    show: Callable[[int], object]
    used: Callable[[], Mapping[str, float]] = _nothing_used
    counts: Callable[[], Mapping[str, Counts]] = _none
    received: Callable[[Mapping[str, Counts]], object] = _ignore


class ShareExchange:
    """One replica's part in sharing limits out."""

    def __init__(self, kept: Kept, shares: Shares, sharing: Sharing, clock: Clock) -> None:
        self._kept, self._sharing, self._clock, self.shares = kept, sharing, clock, shares
        self._others = OthersCounts(shares.name)
        self._at, self._away = clock.monotonic(), False

    async def run(self) -> None:
        """A beat every BEAT_S, for ever; while NATS is away, equal parts."""
        while self._kept.configured:
            await asyncio.sleep(BEAT_S)
            try:
                async with asyncio.timeout(BEAT_S):
                    await self.beat()
            except DOWN as error:
                self._note(away=True, why=describe(error))
            else:
                self._note(away=False)

    async def beat(self) -> None:
        """Read, decide, write. Raises what Bus.DOWN names."""
        now = self._clock.monotonic()
        asked = self._sharing.asked(max(now - self._at, 1e-3))
        self._at = now
        for _ in range(TRIES_MAX):
            began = self._clock.monotonic()
            value, revision = await self._kept.read()
            found = read(value)
            counts, used = self._sharing.counts(), self._sharing.used()
            made = self.shares.next(found, asked, began, counts, used)
            if await self._kept.write(_encode(made), revision):
                self.shares.wrote(made, began)
                self._sharing.received(self._others.since(found))
                return
            await asyncio.sleep(random.uniform(0, TRY_AGAIN_S))
        raise TimeoutError("other replicas wrote first, each time")

    def _note(self, *, away: bool, why: str = "") -> None:
        self._sharing.show(0 if away else self.shares.members)
        if away and not self._away:
            _log.warning("shares_not_exchanged", why=why, parts=self.shares.members)
        elif self._away and not away:
            _log.info("shares_exchanged", parts=self.shares.members)
        self._away = away


def read(value: bytes) -> Document:
    """The document; an unreadable one is written anew."""
    try:
        return _decode(value) if value else Document()
    except msgspec.DecodeError:
        _log.error("shares_unreadable")
        return Document()
