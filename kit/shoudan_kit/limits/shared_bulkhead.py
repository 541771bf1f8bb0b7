"""A bulkhead whose bounds of groups and parties are totals of all replicas: each has its share of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from shoudan_kit.limits.bulkhead import PARTIES_MAX, Admission, Bulkhead, Limits, Party
from shoudan_kit.limits.shares import Shares

ROUNDING = 1e-9  # a share times a total is a whole number of calls, but for the last bit


class SharedBulkhead(Bulkhead):
    """Admits by this replica's shares; one call of each party is always its own.

    `name` keeps its groups apart from those of others in the same document.
    """

    def __init__(self, limits: Limits, shares: Shares, name: str = "") -> None:
        super().__init__(limits)
        self._shares, self._name = shares, name
        self._full: Counter[Party] = (
            Counter()
        )  # refused since the last look: the party's share is in use
        self._busy: Counter[Party] = Counter()  # the group's is
        self._most: Counter[Party] = Counter()  # in flight at once since the last look

    def enter(
        self, party: Party, now: float, most: int | None = None, group_most: int | None = None
    ) -> Admission:
        """Whether a call may begin within this replica's shares; `now` is of the shares' clock."""
        of_group, of_party = [
            max(1, int(total * self._shares.of(name, now) + ROUNDING))
            for name, total in self._totals(party)
        ]
        of_party = of_party if most is None else min(of_party, most)
        of_group = of_group if group_most is None else min(of_group, group_most)
        admission = super().enter(party, now, of_party, of_group)
        if len(self._most) < PARTIES_MAX or party in self._most:  # without NATS none looks
            self._most[party] = max(self._most[party], self.calls_of(party))
            self._full[party] += admission is Admission.FULL
            self._busy[party] += admission is Admission.BUSY
        return admission

    def used(self) -> dict[str, float]:
        """What part of each total is in flight from here."""
        return self._parts(self.in_flight_by_party().items())

    def asked(self, waiting: Iterable[tuple[Party, int]] | None = None) -> dict[str, float]:
        """What part of each total is asked here: calls in flight at once, and refused, since the last look.

        Calls in flight at this moment say little: many begin and end together.
        `waiting`: calls that wait for their party instead of being tried again later.
        """
        full = self._full.items() if waiting is None else waiting
        calls = [*self._most.items(), *full, *self._busy.items()]
        found = self._parts(calls)
        self._full.clear()
        self._busy.clear()
        self._most = Counter(self.in_flight_by_party())
        return {name: min(1.0, part) for name, part in found.items()}

    def _parts(self, calls: Iterable[tuple[Party, int]]) -> dict[str, float]:
        found: dict[str, float] = {}
        for party, count in calls:
            for name, total in self._totals(party):
                found[name] = found.get(name, 0.0) + count / total
        return found

    def _totals(self, party: Party) -> tuple[tuple[str, int], tuple[str, int]]:
        group = self._name + party[0]
        return (group, self.limits.group_max), (f"{group} {party[1]}", self.limits.party_max)
