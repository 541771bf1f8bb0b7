"""Ids made in the process: 63 bits, ordered by time, unique as long as node numbers are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from shoudan_kit.clock import Clock

# 41 bits of milliseconds since 2020 (until 2089) | 10 bits of node | 12 bits of sequence.
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
NODE_BITS = 10
SEQUENCE_BITS = 12
NODE_MAX = (1 << NODE_BITS) - 1
TAKE_MAX = 100_000

_SEQUENCE_MASK = (1 << SEQUENCE_BITS) - 1
_TICK_MAX = (1 << (41 + SEQUENCE_BITS)) - 1
_MILLISECOND = timedelta(milliseconds=1)


class IdMaker:
    """Makes the ids of one process; every process gets a node number of its own.

    A tick is (millisecond, sequence) in one integer and only ever grows. So a clock set back, or more
    than 4096 ids in a millisecond, borrows from the milliseconds ahead instead of waiting or repeating.
    Not for threads: one event loop owns it.
    """

    def __init__(self, node: int, clock: Clock) -> None:
        if not 0 <= node <= NODE_MAX:
            raise ValueError(f"node must be 0..{NODE_MAX}, not {node}")
        self._node = node << SEQUENCE_BITS
        self._clock = clock
        self._tick = -1

    def next(self) -> int:
        """One id, greater than all before."""
        return self.take(1)[0]

    def take(self, n: int) -> list[int]:
        """`n` ids, 0 to 100 000, rising, for one reading of the clock."""
        if not 0 <= n <= TAKE_MAX:
            raise ValueError(f"take 0..{TAKE_MAX} ids at once, not {n}")
        milliseconds = (self._clock.now() - EPOCH) // _MILLISECOND
        first = max(milliseconds << SEQUENCE_BITS, self._tick + 1)
        last = first + n - 1
        unset = milliseconds < 0 and self._tick < 0  # later a clock set back only borrows
        if unset or last > _TICK_MAX:
            raise OverflowError("the clock is outside 2020..2089, ids cannot be made")
        self._tick = max(self._tick, last)
        return [self._id(tick) for tick in range(first, last + 1)]

    def _id(self, tick: int) -> int:
        milliseconds, sequence = tick >> SEQUENCE_BITS, tick & _SEQUENCE_MASK
        return milliseconds << (NODE_BITS + SEQUENCE_BITS) | self._node | sequence


def time_of(made: int) -> datetime:
    """When the id was made (UTC, to the millisecond)."""
    return EPOCH + (made >> (NODE_BITS + SEQUENCE_BITS)) * _MILLISECOND


def node_of(made: int) -> int:
    """Which node made the id."""
    return (made >> SEQUENCE_BITS) & NODE_MAX
