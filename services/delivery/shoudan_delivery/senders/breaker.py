"""The circuit breaker of one channel: counts transport failures, rests, tries again with a few calls."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum


class Turn(Enum):
    """What one answer did to the breaker."""

    NONE = 0
    TRIP = 1
    CLOSE = 2


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When it trips; a trial lets `trials_max` calls through at a time."""

    window_s: int
    calls_min: int
    failures_ppm: int
    trials_max: int = 3


class Breaker:
    """Counts per second over the window. It only says what should happen: the state is the database's."""

    def __init__(self, rules: BreakerRules) -> None:
        self._rules = rules
        self.calls = self.failures = 0  # noted here since the start, for the other replicas
        self._seconds: deque[list[int]] = (
            deque()
        )  # [second, calls, failures], at most window_s of them

    def note(self, now_s: float, *, failed: bool, tripped: bool) -> Turn:
        """Count one answer. While tripped a good one closes, a bad one trips anew."""
        if tripped:
            self._seconds.clear()
            return Turn.TRIP if failed else Turn.CLOSE
        self.calls += 1
        self.failures += failed
        return self.add(now_s, 1, int(failed))

    def add(self, now_s: float, calls: int, failures: int) -> Turn:
        """Count answers of this second, of this replica or of others, while the channel is open."""
        second = int(now_s)
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0, 0])
            while self._seconds[0][0] <= second - self._rules.window_s:
                self._seconds.popleft()
        self._seconds[-1][1] += calls
        if not failures:
            return Turn.NONE
        self._seconds[-1][2] += failures
        return self._judged()

    def clear(self) -> None:
        """Forget the window: the channel was switched, here or elsewhere."""
        self._seconds.clear()

    def _judged(self) -> Turn:
        calls = sum(one[1] for one in self._seconds)
        failures = sum(one[2] for one in self._seconds)
        enough = calls >= self._rules.calls_min
        if enough and failures * 1_000_000 >= calls * self._rules.failures_ppm:
            self._seconds.clear()
            return Turn.TRIP
        return Turn.NONE
