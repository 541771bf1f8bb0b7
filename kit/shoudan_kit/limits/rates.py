"""Rates of many parties: each fills at its rate up to a burst, one is taken by each use."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

PARTIES_MAX: Final = 10_000  # remembered; beyond, the one used longest ago begins anew


class Rates:
    """Token buckets by party. Times are those of one monotonic clock."""

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._rate, self._burst = rate_per_s, burst
        self._parties: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, when

    def take(self, party: str, now: float) -> bool:
        """Whether this party had one left."""
        tokens, at = self._parties.pop(party, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - at) * self._rate)
        within = tokens >= 1
        self._parties[party] = (tokens - within, now)
        if len(self._parties) > PARTIES_MAX:
            self._parties.popitem(last=False)
        return within
