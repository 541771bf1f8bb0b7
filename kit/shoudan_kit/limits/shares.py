"""Shares of a total among replicas: each holds a part, all parts together are the total.

What the replicas know of each other is one small document, changed by compare-and-set: a replica reads it,
decides from it alone, and writes its own entry against the very version it has read. So a part that one
takes is one that no other holds. A share is a fraction of whatever the total is; what a party asks for
is one, too. Decision 0018.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

PARTIES_MAX: Final = 500  # of one replica in the document; of more, those that ask for most
FLOOR: Final = 0.1  # of an equal part: what a replica keeps that knows nothing of a party yet
ASKING: Final = 0.5  # of its share: a party that asks for more than this is in the document
NOTHING: Final = 1e-3  # less than this of a total is not asked for


class Part(msgspec.Struct, frozen=True, array_like=True):
    """What one replica holds of one party's total, and what is asked of it there."""

    held: float
    asked: float


class Counts(msgspec.Struct, frozen=True, array_like=True):
    """Calls and failures of one party at one replica since that replica began."""

    calls: int = 0
    failures: int = 0


class Replica(msgspec.Struct, frozen=True):
    """One replica's entry. Of parties that are not in it, it holds an equal part among `members`."""

    beat: int
    members: int
    parts: dict[str, Part] = {}
    counts: dict[str, Counts] = {}

    def part(self, party: str) -> Part:
        """What it holds of a party."""
        return self.parts.get(party) or Part(1 / self.members, 0.0)


class Document(msgspec.Struct, frozen=True):
    """All replicas by their names."""

    replicas: dict[str, Replica] = {}


@dataclass(slots=True)
class Shares:
    """This replica's shares. Times are those of one monotonic clock; `expected` replicas until it knows.

    With `at_once` a replica has an equal part of a party before all others have seen it, and so given theirs
    up: the total is exceeded by that for a beat. Without it nothing, where others hold all.
    """

    name: str
    lease_s: float
    expected: int = 1
    at_once: bool = False
    _members: int = 0
    _parts: dict[str, Part] = field(default_factory=dict[str, Part])
    _decided_parts: dict[str, Part] = field(default_factory=dict[str, Part])
    _published: dict[str, Part] = field(default_factory=dict[str, Part])
    _beat: int = 0
    _written: float = float("-inf")
    _seen: dict[str, tuple[Replica, float]] = field(
        default_factory=dict[str, tuple[Replica, float]]
    )

    def of(self, party: str, now: float) -> float:
        """The fraction of a party's total that this replica may use now.

        When the document has not been written for two thirds of a lease, others may soon take this replica
        for gone: from then on an equal part of what is known, and no more.
        """
        equal = 1 / self.members
        if not self.is_leased(now):
            return equal
        part = self._parts.get(party)
        return equal if part is None else part.held

    @property
    def members(self) -> int:
        """Replicas as far as this one knows."""
        return max(self._members or self.expected, 1)

    def is_leased(self, now: float) -> bool:
        """Whether what this replica holds is known to the others."""
        return now - self._written < self.lease_s * 2 / 3

    def next(
        self,
        found: Document,
        asked: Mapping[str, float],
        now: float,
        counts: Mapping[str, Counts] | None = None,
        used: Mapping[str, float] | None = None,
    ) -> Document:
        """The document with this replica's entry made anew, and without those that have gone silent.

        `asked`: of each party the fraction of its total that is asked of this replica. `counts`: what it has
        counted, for the others to add to theirs. What is given up is given up at once, but for what is `used`
        now, such as calls in flight: that is written as held until it ends. What is taken is used only
        after `wrote`.
        """
        others = self._living(found, now)
        members = len(others) + 1
        parts = self._decided(others, members, asked)
        for party, part in parts.items():
            kept = self._parts.get(party)
            held = kept.held if kept is not None else 1 / self.members
            if part.held < held:
                self._parts[party] = part
        # A write whose answer was lost has been made, perhaps: the next one must differ from it, too.
        written = found.replicas.get(self.name)
        beat = max(self._beat, written.beat if written is not None else 0) + 1
        self._decided_parts = parts
        entry = Replica(beat, members, self._with_used(parts, used or {}), dict(counts or {}))
        return Document({**others, self.name: entry})

    def wrote(self, document: Document, now: float) -> None:
        """The document of `next` is the stored one."""
        entry = document.replicas[self.name]
        self._beat, self._members = entry.beat, entry.members
        self._parts, self._published, self._written = dict(self._decided_parts), entry.parts, now

    def _with_used(self, parts: Mapping[str, Part], used: Mapping[str, float]) -> dict[str, Part]:
        """What is written of these parts: no less than what is used of what was written before."""
        written: dict[str, Part] = {}
        for party, part in parts.items():
            before = self._published.get(party)
            held = 1 / self.members if before is None else before.held
            still = min(used.get(party, 0.0), held)
            written[party] = Part(max(part.held, still), part.asked)
        return written

    def _living(self, found: Document, now: float) -> dict[str, Replica]:
        """The others whose beat has changed within a lease, by this replica's own clock.

        One that has gone from the document is there until then: a store that has lost its content says
        nothing about who is alive.
        """
        for name, one in found.replicas.items():
            known = self._seen.get(name)
            if name != self.name and (known is None or known[0].beat != one.beat):
                self._seen[name] = (one, now)
        # A silent one is remembered as long as another replica still writes it down.
        self._seen = {
            name: (one, since)
            for name, (one, since) in self._seen.items()
            if name in found.replicas or now - since < self.lease_s
        }
        seen = self._seen.items()
        return {name: one for name, (one, since) in seen if now - since < self.lease_s}

    def _decided(
        self, others: Mapping[str, Replica], members: int, asked: Mapping[str, float]
    ) -> dict[str, Part]:
        equal = 1 / members
        parties = {party for one in others.values() for party in one.parts}
        parties |= {p for p, wanted in asked.items() if wanted > ASKING * equal} | set(self._parts)
        parts = {
            party: self._part(party, others, equal, asked.get(party, 0.0)) for party in parties
        }
        kept = {p: part for p, part in parts.items() if not _is_equal(part, equal)}
        most = sorted(kept, key=lambda party: -kept[party].asked - kept[party].held)
        return {party: kept[party] for party in most[:PARTIES_MAX]}

    def _part(self, party: str, others: Mapping[str, Replica], equal: float, wanted: float) -> Part:
        """What is asked here, or its part of too much, and an equal part of the rest; only what is free."""
        wanted = wanted if wanted >= NOTHING else 0.0
        parts = [one.part(party) for one in others.values()]
        free = max(0.0, 1 - sum(one.held for one in parts))
        if self.at_once and any(one.members <= len(others) for one in others.values()):
            free = max(free, equal)  # what another holds that has not seen this replica yet
        whole = wanted + sum(one.asked for one in parts)
        target = equal
        if whole > ASKING * equal:
            rest = max(0.0, 1 - whole)
            target = FLOOR * equal + (1 - FLOOR) * (wanted / max(whole, 1.0) + rest * equal)
        return Part(min(target, free), wanted)


def _is_equal(part: Part, equal: float) -> bool:
    """Whether leaving the part out says the same."""
    return not part.asked and abs(part.held - equal) < NOTHING


@dataclass(slots=True)
class OthersCounts:
    """What the other replicas count: totals that only grow, so that a beat that was missed loses nothing."""

    name: str
    _known: dict[str, dict[str, Counts]] = field(default_factory=dict[str, dict[str, Counts]])

    def since(self, found: Document) -> dict[str, Counts]:
        """Of each party what was counted elsewhere since the last look. One first seen begins with it."""
        grown: dict[str, Counts] = {}
        for name, one in found.replicas.items():
            known = self._known.get(name, one.counts)
            for party, now in one.counts.items() if name != self.name else ():
                before, sum_ = known.get(party, Counts()), grown.get(party, Counts())
                calls, failures = now.calls - before.calls, now.failures - before.failures
                if calls > 0:
                    grown[party] = Counts(sum_.calls + calls, sum_.failures + failures)
        self._known = {name: one.counts for name, one in found.replicas.items()}
        return grown
