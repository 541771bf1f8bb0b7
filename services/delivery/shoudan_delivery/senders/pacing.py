"""The pace of one channel: how long free places are gathered, and how many calls may start after that."""

from __future__ import annotations

from shoudan_kit.clock import Clock

# A free place waits for further free places at most this part of the time a call takes.
GATHER_PART = 16
# A channel with more than a round waiting starts calls this much faster than they finish on average. Calls
# started in one burst finish in one burst; unpaced, every burst stalls the other channels of this process.
PACE = 1.05
TOOK_SHARE = 1 / 32  # of the newest answer in the mean


class Pacing:
    """Spreads the calls of a channel over the time a call takes on average."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._took_s, self._begun_at, self._part = 0.0, clock.monotonic(), 0.0

    def note(self, took_s: float) -> None:
        """Count how long a call took."""
        share = TOOK_SHARE if self._took_s else 1.0  # the first is the mean
        self._took_s += (took_s - self._took_s) * share

    def resume(self) -> None:
        """Begin anew after a wait, which must not allow a burst."""
        self._begun_at = self._clock.monotonic()

    def gather_s(self, linger_s: float) -> float:
        """Seconds to gather free places."""
        return min(linger_s, self._took_s / GATHER_PART)

    def allowed(self, waiting: int, places: int) -> int | None:
        """Calls that may start now, at least one; None when the rest goes in one round, unpaced."""
        now, last = self._clock.monotonic(), self._begun_at
        self._begun_at = now
        if not self._took_s or waiting <= places:
            return None
        fair = PACE * places * (now - last) / self._took_s + self._part
        self._part = fair % 1
        # At least one, so that a place of a small channel is never left empty.
        return max(1, int(fair))
