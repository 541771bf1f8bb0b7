"""Tells the other gateways what callers ask of this one, and takes its share of their limits, once a beat."""

from __future__ import annotations

import asyncio
import random
from typing import Final

import msgspec

from shoudan_gateway.limits import CallerLimits
from shoudan_kit import metrics
from shoudan_kit.clock import Clock
from shoudan_kit.db.errors import describe
from shoudan_kit.events.kept import Kept
from shoudan_kit.events.nats import DOWN
from shoudan_kit.limits.shares import Document, Shares
from shoudan_kit.log import get_logger

BUCKET: Final = "gateway_shares"
TRIES_MAX: Final = 5  # against other gateways that write at the same moment
TRY_AGAIN_S: Final = 0.02

_log = get_logger("gateway.shares")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Document).decode


class ShareExchange:
    """One gateway's part in sharing the limits out."""

    def __init__(self, kept: Kept, limits: CallerLimits, beat_s: float, clock: Clock) -> None:
        self._kept, self._limits, self._clock = kept, limits, clock
        self._shares: Shares = limits.shares
        self._beat_s, self._at = beat_s, clock.monotonic()
        self._away = False

    async def run(self) -> None:
        """A beat every `beat_s`, for ever; while NATS is away, equal parts."""
        while self._kept.configured:
            await asyncio.sleep(self._beat_s)
            try:
                async with asyncio.timeout(self._beat_s):
                    await self.beat()
            except DOWN as error:
                self._note(away=True, why=describe(error))
            else:
                self._note(away=False)

    async def beat(self) -> None:
        """Read, decide, write. Raises what Bus.DOWN names."""
        now = self._clock.monotonic()
        asked = self._limits.asked(max(now - self._at, 1e-3))
        self._at = now
        for _ in range(TRIES_MAX):
            began = self._clock.monotonic()
            value, revision = await self._kept.read()
            made = self._shares.next(read(value), asked, began)
            if await self._kept.write(_encode(made), revision):
                self._shares.wrote(made, began)
                return
            await asyncio.sleep(random.uniform(0, TRY_AGAIN_S))
        raise TimeoutError("other gateways wrote first, each time")

    def _note(self, *, away: bool, why: str = "") -> None:
        metrics.GATEWAYS_SHARING().set(0 if away else self._shares.members)
        if away and not self._away:
            _log.warning("shares_not_exchanged", why=why, parts=self._shares.members)
        elif self._away and not away:
            _log.info("shares_exchanged", parts=self._shares.members)
        self._away = away


def read(value: bytes) -> Document:
    """The document; an unreadable one is written anew."""
    try:
        return _decode(value) if value else Document()
    except msgspec.DecodeError:
        _log.error("shares_unreadable")
        return Document()
