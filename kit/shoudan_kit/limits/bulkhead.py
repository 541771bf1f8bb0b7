"""Bounds on calls in flight: each party's below its group's, the group's below the total; none is awaited.

A party is one host as one group (a channel, a domain) uses it. One that does not answer rests, longer
each time, and is then tried with a single call; one that has not answered for long is off.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import Final

REST_AFTER: Final = 5  # calls in a row without an answer
RESTING_MAX: Final = 1_000  # shown at once
PARTIES_MAX: Final = 50_000  # remembered for their failures; beyond, the oldest is forgotten

Party = tuple[str, str]  # group, host


class Admission(Enum):
    """What may become of a call now."""

    GO = "go"  # counted as in flight until `leave`
    FULL = "full"  # the party has as many calls in flight as it may have
    BUSY = "busy"  # its group or all together have
    RESTING = "resting"
    OFF = "off"


class Change(Enum):
    """What the end of a call says about its party."""

    NONE = "none"
    DOWN = "down"
    UP = "up"


@dataclass(frozen=True, slots=True)
class Limits:
    """Calls in flight, and seconds of rest.

    `reserve` calls of a group begin even where all together are at the bound: no number of
    other groups can keep one from being served.
    """

    total_max: int
    group_max: int
    party_max: int
    reserve: int = 2
    rest_s: float = 5.0
    rest_s_max: float = 300.0
    off_s: float = 86_400.0

    def __post_init__(self) -> None:
        assert self.reserve <= self.party_max <= self.group_max < self.total_max, self


@dataclass(frozen=True, slots=True)
class Resting:
    """A party that does not answer, as operators see it."""

    calls: str
    group: str
    host: str
    off: bool
    left_s: float  # until it is tried again
    failing_s: float


@dataclass(slots=True)
class _Outage:
    """A party that did not answer lately."""

    since: float
    failures: int = 0
    rests: int = 0
    until: float = 0.0


class Bulkhead:
    """Counts calls in flight and remembers who does not answer. Times are those of one monotonic clock."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._total = 0
        self._groups: Counter[str] = Counter()
        self._parties: Counter[Party] = Counter()
        self._outage: dict[Party, _Outage] = {}

    @property
    def in_flight(self) -> int:
        """Calls of all parties."""
        return self._total

    @property
    def resting(self) -> int:
        """Parties that rest or are off."""
        return sum(1 for outage in self._outage.values() if outage.rests)

    def resting_parties(self, calls: str, now: float) -> list[Resting]:
        """Those that rest or are off, longest first."""
        found = [
            Resting(
                calls,
                *party,
                off=now - outage.since >= self.limits.off_s,
                left_s=max(0.0, outage.until - now),
                failing_s=now - outage.since,
            )
            for party, outage in self._outage.items()
            if outage.rests
        ]
        return sorted(found, key=lambda one: -one.failing_s)[:RESTING_MAX]

    def enter(
        self, party: Party, now: float, most: int | None = None, group_most: int | None = None
    ) -> Admission:
        """Whether a call to `party` may begin; GO counts it. `most`, `group_most`: lower bounds, if any."""
        admission = self._admission(party, now, most, group_most)
        if admission is Admission.GO:
            self._total += 1
            self._groups[party[0]] += 1
            self._parties[party] += 1
        return admission

    def calls_of(self, party: Party) -> int:
        """Calls of a party in flight."""
        return self._parties.get(party, 0)

    def in_flight_by_party(self) -> dict[Party, int]:
        """Calls in flight of each party that has any."""
        return dict(self._parties)

    def _admission(
        self, party: Party, now: float, most: int | None, group_most: int | None
    ) -> Admission:
        limits, here = self.limits, self._parties.get(party, 0)
        outage = self._outage.get(party)
        if outage is not None and outage.rests and (here or now < outage.until):
            return Admission.OFF if now - outage.since >= limits.off_s else Admission.RESTING
        if here >= limits.party_max or (most is not None and here >= most):
            return Admission.FULL
        group = self._groups.get(party[0], 0)
        full = self._total >= limits.total_max and group >= limits.reserve
        if group_most is not None:
            full = full or group >= group_most
        return Admission.BUSY if full or group >= limits.group_max else Admission.GO

    def leave(self, party: Party, now: float, *, answered: bool | None) -> Change:
        """A call has ended, with an answer of whatever content or without one; None: it was not made."""
        self._total -= 1
        self._groups[party[0]] -= 1
        if not self._groups[party[0]]:
            del self._groups[party[0]]
        self._parties[party] -= 1
        if not self._parties[party]:
            del self._parties[party]
        if answered is None:
            return Change.NONE
        outage = self._outage.get(party)
        if answered:
            self._outage.pop(party, None)
            return Change.UP if outage is not None and outage.rests else Change.NONE
        if outage is None:
            if len(self._outage) >= PARTIES_MAX:
                self._outage.pop(next(iter(self._outage)))
            outage = self._outage[party] = _Outage(now)
        outage.failures += 1
        if outage.failures < REST_AFTER or now < outage.until:
            return Change.NONE  # calls begun before a rest say nothing about the time after it
        first = not outage.rests
        outage.rests += 1
        rest_s = min(self.limits.rest_s * 2 ** min(outage.rests - 1, 30), self.limits.rest_s_max)
        outage.until = now + rest_s
        return Change.DOWN if first else Change.NONE

    def rest_left_s(self, party: Party, now: float) -> float:
        """Seconds until a resting party is tried again; 0 for others."""
        outage = self._outage.get(party)
        return max(0.0, outage.until - now) if outage is not None else 0.0
