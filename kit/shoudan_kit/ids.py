"""Ids made in the process: 63 bits, ordered by time, unique as long as node numbers are leased."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Final

from shoudan_kit.clock import Clock
from shoudan_kit.db.errors import Unavailable

# 41 bits of milliseconds since 2020 (until 2089) | 4 bits of shard | 6 bits of node | 12 bits of sequence.
# A shard is a database with node numbers of its own; 64 processes are more than it has connections for.
EPOCH: Final = datetime(2020, 1, 1, tzinfo=UTC)
SHARD_BITS: Final = 4
NODE_BITS: Final = 6
SEQUENCE_BITS: Final = 12
TIME_SHIFT: Final = SHARD_BITS + NODE_BITS + SEQUENCE_BITS
SHARD_MAX: Final = (1 << SHARD_BITS) - 1
NODE_MAX: Final = (1 << NODE_BITS) - 1
TAKE_MAX: Final = 100_000
# Digits that an id may have: eighteen until July 2027, nineteen from then on.
DIGITS_MAX: Final = 19
START_BITS: Final = 10  # of the sequence: a millisecond begins anywhere in its first quarter

_SEQUENCE_MASK: Final = (1 << SEQUENCE_BITS) - 1
_MAX: Final = 2**63 - 1
_TICK_MAX: Final = (1 << (41 + SEQUENCE_BITS)) - 1
_MILLISECOND: Final = timedelta(milliseconds=1)


class IdLeaseLost(Unavailable):
    """This process may not make ids now: its node number is no longer its own, or not renewed in time."""


class IdMaker:
    """Makes the ids of one process; every process leases a node number of its own.

    A tick is (millisecond, sequence) in one integer and only ever grows. So a clock set back, or more
    than the rest of its 4096 ids in a millisecond, borrows from those ahead instead of waiting or repeating.
    Each millisecond begins at a random place, so that its sequence does not tell how many ids were made.
    No tick beyond the end of the lease is used. Not for threads: one event loop owns it.
    """

    def __init__(self, node: int, clock: Clock, *, shard: int = 0) -> None:
        if not 0 <= node <= NODE_MAX:
            raise ValueError(f"node must be 0..{NODE_MAX}, not {node}")
        if not 0 <= shard <= SHARD_MAX:
            raise ValueError(f"shard must be 0..{SHARD_MAX}, not {shard}")
        self._shard = shard << (NODE_BITS + SEQUENCE_BITS)
        self._low = self._shard | node << SEQUENCE_BITS
        self._clock = clock
        self._tick = -1
        self._tick_max = _TICK_MAX

    def lease(self, node: int, floor_ms: int, until_ms: int) -> None:
        """Use this number from now on: after `floor_ms` and up to `until_ms`, milliseconds since EPOCH."""
        self._low = self._shard | node << SEQUENCE_BITS
        self._tick = max(self._tick, floor_ms << SEQUENCE_BITS | _SEQUENCE_MASK)
        self.extend(until_ms)

    def extend(self, until_ms: int) -> None:
        """The lease ends later."""
        self._tick_max = min(_TICK_MAX, until_ms << SEQUENCE_BITS | _SEQUENCE_MASK)

    @property
    def reached_ms(self) -> int:
        """The millisecond reached: that of the clock, or one ahead of it when ids were borrowed."""
        return max(milliseconds(self._clock.now()), self._tick >> SEQUENCE_BITS)

    def lose(self) -> None:
        """The number is another's: no more ids until there is a new lease."""
        self._tick_max = -1

    def next(self) -> int:
        """One id, greater than all before. Raises IdLeaseLost."""
        return self.take(1)[0]

    def take(self, n: int) -> list[int]:
        """`n` ids, 0 to 100 000, rising, for one reading of the clock. Raises IdLeaseLost."""
        if not 0 <= n <= TAKE_MAX:
            raise ValueError(f"take 0..{TAKE_MAX} ids at once, not {n}")
        now_ms = milliseconds(self._clock.now())
        start = now_ms << SEQUENCE_BITS | random.getrandbits(START_BITS)
        # Within a millisecond that has begun the next one follows.
        first = start if now_ms > self._tick >> SEQUENCE_BITS else self._tick + 1
        last = first + n - 1
        unset = now_ms < 0 and self._tick < 0  # later a clock set back only borrows
        if unset or last > _TICK_MAX:
            raise OverflowError("the clock is outside 2020..2089, ids cannot be made")
        if last > self._tick_max:
            raise IdLeaseLost("node number")
        self._tick = max(self._tick, last)
        low = self._low
        return [
            (tick >> SEQUENCE_BITS) << TIME_SHIFT | low | tick & _SEQUENCE_MASK
            for tick in range(first, last + 1)
        ]


def milliseconds(moment: datetime) -> int:
    """Milliseconds since EPOCH."""
    return (moment - EPOCH) // _MILLISECOND


def first_of(moment: datetime) -> int:
    """The smallest id made at this moment or later; the greatest there is for one after all ids."""
    return min(max(0, milliseconds(moment)) << TIME_SHIFT, _MAX)


def id_of(text: str) -> int | None:
    """The id that a text is, in ASCII digits; None when it can be none."""
    if not (text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX):
        return None
    number = int(text)
    return number if number <= _MAX else None


def time_of(made: int) -> datetime:
    """When the id was made (UTC, to the millisecond)."""
    return EPOCH + (made >> TIME_SHIFT) * _MILLISECOND


def node_of(made: int) -> int:
    """Which node of its shard made the id."""
    return (made >> SEQUENCE_BITS) & NODE_MAX


def shard_of(made: int) -> int:
    """In which shard the id was made."""
    return (made >> (NODE_BITS + SEQUENCE_BITS)) & SHARD_MAX
