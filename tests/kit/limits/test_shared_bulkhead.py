"""Promises of bounds that are totals of all replicas: a share goes where the calls are."""

from __future__ import annotations

from shoudan_kit.limits.bulkhead import PARTIES_MAX, Admission, Limits, Party
from shoudan_kit.limits.shared_bulkhead import SharedBulkhead
from shoudan_kit.limits.shares import Document, Shares

LIMITS = Limits(total_max=100, group_max=8, party_max=4, reserve=1)
BEATS = 4


class Pair:
    """Two replicas and the document they share."""

    def __init__(self) -> None:
        self.document, self.now = Document(), 0.0
        self.shares = [Shares(name, 5.0, expected=2) for name in ("a", "b")]
        self.sides = [SharedBulkhead(LIMITS, one, "x ") for one in self.shares]

    def meet(self) -> None:
        """Both have read the other's entry."""
        self.beat()
        self.beat()

    def beat(self) -> None:
        self.now += 1
        for shares, side in zip(self.shares, self.sides, strict=True):
            self.document = shares.next(self.document, side.asked(), self.now, used=side.used())
            shares.wrote(self.document, self.now)

    def fill(self, at: int, group: str, hosts: int = 1) -> int:
        parties = [(group, f"h{n}") for n in range(hosts)]
        return sum(self._fill(at, party) for party in parties)

    def _fill(self, at: int, party: Party) -> int:
        count = 0
        while self.sides[at].enter(party, self.now) is Admission.GO:
            count += 1
        return count

    def calls(self, group: str) -> int:
        return sum(
            count
            for side in self.sides
            for party, count in side.in_flight_by_party().items()
            if party[0] == group
        )


def test_before_replicas_know_of_each_other_each_has_an_equal_part() -> None:
    pair = Pair()
    assert [pair.fill(at, "one") for at in (0, 1)] == [2, 2]
    assert [pair.fill(at, "two", hosts=9) for at in (0, 1)] == [4, 4]


def test_the_share_goes_where_calls_are_refused_and_the_total_holds() -> None:
    pair = Pair()
    pair.meet()
    for _ in range(BEATS):
        pair.fill(0, "one")
        pair.fill(0, "two", hosts=9)
        pair.beat()
        assert pair.calls("one") <= 4
        assert pair.calls("two") <= 8
    assert pair.sides[0].calls_of(("one", "h0")) == 3  # the other keeps its floor
    assert pair.calls("two") == 7
    pair.fill(1, "one")
    assert pair.calls("one") == 4


def test_what_ended_is_given_to_the_other() -> None:
    pair = Pair()
    pair.meet()
    for _ in range(BEATS):
        pair.fill(0, "one")
        pair.beat()
    for _ in range(pair.sides[0].calls_of(("one", "h0"))):
        pair.sides[0].leave(("one", "h0"), pair.now, answered=True)
    for _ in range(BEATS + 1):  # at the first they were still in flight since the look before
        pair.fill(1, "one")
        pair.beat()
    assert pair.sides[1].calls_of(("one", "h0")) == 3
    assert pair.calls("one") == 3


def test_two_of_one_name_in_a_document_are_apart() -> None:
    shares = Shares("a", 5.0)
    one, other = SharedBulkhead(LIMITS, shares, "one "), SharedBulkhead(LIMITS, shares, "other ")
    assert one.enter(("g", "h"), 0.0) is Admission.GO
    assert one.used() == {"one g": 1 / 8, "one g h": 1 / 4}
    assert other.used() == {}
    assert one.asked() == one.used()


def test_calls_that_ended_before_the_look_were_asked() -> None:
    side = SharedBulkhead(LIMITS, Shares("a", 5.0))
    for _ in range(3):
        assert side.enter(("g", "h"), 0.0) is Admission.GO
    for _ in range(2):
        side.leave(("g", "h"), 0.0, answered=True)
    assert side.asked() == {"g": 3 / 8, "g h": 3 / 4}
    assert side.used() == side.asked() == {"g": 1 / 8, "g h": 1 / 4}


def test_where_none_looks_what_is_remembered_of_parties_is_bounded() -> None:
    side = SharedBulkhead(Limits(10, 8, 4, reserve=1), Shares("a", 5.0))
    for number in range(PARTIES_MAX + 10):
        party = ("g", f"h{number}")
        assert side.enter(party, 0.0) is Admission.GO
        side.leave(party, 0.0, answered=True)
    assert len(side.asked()) == PARTIES_MAX + 1  # and their group


def test_what_waits_is_asked_instead_of_what_was_refused() -> None:
    side = SharedBulkhead(LIMITS, Shares("a", 5.0, expected=4))
    assert side.enter(("g", "h"), 0.0) is Admission.GO
    assert side.enter(("g", "h"), 0.0) is Admission.FULL
    assert side.asked([(("g", "h"), 2)]) == {"g": 3 / 8, "g h": 3 / 4}
    assert side.asked() == {"g": 1 / 8, "g h": 1 / 4}


def test_a_lower_bound_holds_below_the_share_and_a_higher_one_is_none() -> None:
    party = ("g", "h")
    side = SharedBulkhead(LIMITS, Shares("a", 5.0, expected=2))
    assert side.enter(party, 0.0, 1) is Admission.GO
    assert side.enter(party, 0.0, 1) is Admission.FULL
    assert side.enter(("g", "h1"), 0.0, None, 1) is Admission.BUSY
    assert side.enter(party, 0.0, 9, 9) is Admission.GO
    assert side.enter(party, 0.0, 9, 9) is Admission.FULL, "its share is two"
    assert [side.enter(("g", f"h{n}"), 0.0, 9, 9) for n in (1, 2, 3)] == [
        Admission.GO,
        Admission.GO,
        Admission.BUSY,
    ]


def test_no_more_than_the_total_is_asked_and_each_refusal_once() -> None:
    side = SharedBulkhead(LIMITS, Shares("a", 5.0, expected=8))
    for host in ("h", "h1"):
        side.enter(("g", host), 0.0)
    for _ in range(20):
        assert side.enter(("g", "h1"), 0.0) is Admission.BUSY
    assert side.asked() == {"g": 1.0, "g h": 1 / 4, "g h1": 1.0}
    assert side.asked() == {"g": 1 / 8, "g h": 1 / 4}
