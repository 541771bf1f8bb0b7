"""What was sold today, added up as the day goes on: what has settled is read once for all operators."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from shoudan_console.system_time import now

# A movement counts at its moment, and is written some time after it: what is younger is read again.
NEVER: Final = datetime.min.replace(tzinfo=UTC)
SETTLED: Final = timedelta(seconds=90)
PIECE: Final = timedelta(hours=1)
BUDGET_S: Final = 1.5  # of one look; a busy day is caught up with over several


@dataclass(frozen=True, slots=True)
class Sold:
    """Sums of a channel, or of all."""

    orders: int = 0
    sold_micros: int = 0
    profit_micros: int = 0

    def __add__(self, other: Sold) -> Sold:
        return Sold(
            self.orders + other.orders,
            self.sold_micros + other.sold_micros,
            self.profit_micros + other.profit_micros,
        )


@dataclass(frozen=True, slots=True)
class Day:
    """What ended today. `until` is said while older movements are still being added up."""

    channels: dict[str, Sold]
    elapsed_s: int
    until: datetime | None = None

    @property
    def total(self) -> Sold:
        return sum(self.channels.values(), Sold())

    def runway_s(self, channel_no: str, left_micros: int) -> int | None:
        """How long this much lasts at the day's pace; None where nothing is spent."""
        spent = self.channels.get(channel_no, Sold()).sold_micros
        return None if spent <= 0 else max(0, left_micros) * self.elapsed_s // spent


Read = Callable[[datetime, datetime], Awaitable[dict[str, Sold]]]


@dataclass
class DaySums:
    """The sums of the day as this process knows them. Each operator asks with rights of its own."""

    day: datetime | None = None
    until: datetime = NEVER
    channels: dict[str, Sold] = field(default_factory=dict[str, Sold])
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def look(self, begin: datetime, read: Read) -> Day:
        """The day that began so, as far as it has come; `read` gives what moved in between, by channel."""
        async with self.turn:
            return await self._look(begin, now(), read)

    async def _look(self, begin: datetime, now: datetime, read: Read) -> Day:
        if self.day != begin:
            self.day, self.until, self.channels = begin, begin, {}
        edge = max(begin, now - SETTLED)
        loop = asyncio.get_running_loop()
        end_s = loop.time() + BUDGET_S
        while self.until < edge and loop.time() < end_s:
            upto = min(self.until + PIECE, edge)
            self.channels = added(self.channels, await read(self.until, upto))
            self.until = upto
        behind = self.until < edge
        young = {} if behind else await read(self.until, now)
        elapsed_s = max(1, int((now - begin).total_seconds()))
        return Day(added(self.channels, young), elapsed_s, self.until if behind else None)


def added(one: dict[str, Sold], other: dict[str, Sold]) -> dict[str, Sold]:
    """The sums of both, by channel."""
    return {
        name: one.get(name, Sold()) + other.get(name, Sold()) for name in sorted({*one, *other})
    }
