"""Rates of many parties: each fills at its rate up to a burst, one is taken by each use."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec

PARTIES_MAX: Final = 10_000  # remembered; beyond, the one used longest ago begins anew


class Rate(msgspec.Struct, frozen=True):
    """Uses a second for long, and how many at once."""

    per_s: float
    burst: float

    def part(self, share: float) -> Rate:
        """A share of it; at least one use at once."""
        if share == 1:  # most often: one replica, or all others idle
            return self
        return Rate(self.per_s * share, max(1.0, self.burst * share))


class Drawn(msgspec.Struct, frozen=True):
    """What became of one use: whether there was one left, how many still are, and when there are more."""

    within: bool
    left: int
    wait_s: float  # until there is one again; 0 when there is
    full_s: float  # until the whole burst is there


class Rates:
    """Token buckets by party. Times are those of one monotonic clock."""

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._rate = Rate(rate_per_s, burst)
        self._parties: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, when

    def take(self, party: str, now: float) -> bool:
        """Whether this party had one left."""
        return self.draw(party, now, self._rate).within

    def draw(self, party: str, now: float, rate: Rate) -> Drawn:
        """Take one at the rate this party has now; what is above a burst that has shrunk is lost."""
        tokens, at = self._parties.pop(party, (rate.burst, now))
        tokens = min(rate.burst, tokens + (now - at) * rate.per_s)
        within = tokens >= 1
        tokens -= within
        self._parties[party] = (tokens, now)
        if len(self._parties) > PARTIES_MAX:
            self._parties.popitem(last=False)
        per_s = rate.per_s or 1e-9
        wait_s = 0.0 if tokens >= 1 else (1 - tokens) / per_s
        return Drawn(within, int(tokens), wait_s, (rate.burst - tokens) / per_s)
