"""Shares of a total: together never above it, they go where calls are, and outlive comings and goings."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shoudan_kit.limits import shares as module
from shoudan_kit.limits.shares import Counts, Document, OthersCounts, Part, Replica, Shares

LEASE_S = 5.0
EXACT = 1e-9


class House:
    """Replicas, one document, one clock."""

    def __init__(self, *names: str, expected: int = 1) -> None:
        self.document, self.now = Document(), 0.0
        self.replicas = {name: Shares(name, LEASE_S, expected) for name in names}
        self.cut: set[str] = set()

    def exchange(self, name: str, **asked: float) -> None:
        """One replica reads, decides and writes."""
        if name in self.cut:
            return
        one = self.replicas[name]
        self.document = one.next(self.document, asked, self.now)
        one.wrote(self.document, self.now)

    def rounds(self, count: int, asked: dict[str, float], party: str = "a") -> None:
        for _ in range(count):
            self.now += 1
            for name in self.replicas:
                self.exchange(name, **{party: asked.get(name, 0.0)})

    def of(self, party: str = "a") -> dict[str, float]:
        return {name: round(one.of(party, self.now), 3) for name, one in self.replicas.items()}

    def sum(self, party: str = "a") -> float:
        return sum(one.of(party, self.now) for one in self.replicas.values())


def test_replicas_that_are_asked_nothing_hold_equal_parts() -> None:
    house = House("x", "y", "z")
    house.rounds(2, {})
    assert house.of() == {"x": 0.333, "y": 0.333, "z": 0.333}


def test_a_share_goes_where_the_calls_are_and_comes_back() -> None:
    house = House("x", "y")
    house.rounds(2, {})
    house.rounds(4, {"x": 1.0})
    assert house.of() == {"x": 0.95, "y": 0.05}
    house.rounds(4, {"x": 1.0, "y": 1.0})
    assert house.of() == {"x": 0.5, "y": 0.5}
    house.rounds(4, {"x": 0.2, "y": 0.6})
    assert house.of()["y"] == pytest.approx(0.68, abs=0.01)
    house.rounds(4, {})
    assert house.of() == {"x": 0.5, "y": 0.5}
    assert not house.document.replicas["x"].parts, "what is equal is not written down"


def test_of_what_is_not_asked_each_keeps_an_equal_part() -> None:
    """So that calls which come to another replica at once, as a balancer sends them, find room there."""
    house = House("x", "y")
    house.rounds(2, {})
    house.rounds(4, {"x": 0.01, "y": 0.5})
    assert house.of() == {"x": pytest.approx(0.28, abs=0.01), "y": pytest.approx(0.72, abs=0.01)}


def test_what_is_asked_of_one_party_is_nothing_to_another() -> None:
    house = House("x", "y")
    house.rounds(2, {})
    house.rounds(4, {"x": 1.0}, "a")
    assert house.of("b") == {"x": 0.5, "y": 0.5}


def test_a_share_is_used_only_when_it_is_written_and_given_up_before() -> None:
    house = House("x", "y")
    house.rounds(2, {})
    house.rounds(4, {"x": 1.0})
    x, y = house.replicas.values()
    x.next(house.document, {"a": 0.1}, house.now)
    assert x.of("a", house.now) < 0.95, "given up, whether the write succeeds or not"
    before = y.of("a", house.now)
    y.next(house.document, {"a": 1.0}, house.now)
    assert y.of("a", house.now) == before


def test_one_that_is_cut_off_uses_an_equal_part_and_the_others_take_it_for_gone() -> None:
    house = House("x", "y")
    house.rounds(2, {})
    house.rounds(4, {"x": 1.0})
    house.cut.add("x")
    house.rounds(3, {"y": 1.0})
    assert house.of()["x"] == 0.95, "within two thirds of its lease it holds what is written"
    house.rounds(1, {"y": 1.0})
    assert house.of()["x"] == 0.5
    assert house.sum() <= 1 + EXACT
    house.rounds(3, {"y": 1.0})
    assert house.of()["y"] == 1.0
    assert house.sum() <= 1 + 0.5 + EXACT, "above the total by one equal part, as documented"
    house.cut.clear()
    house.rounds(4, {"x": 1.0, "y": 1.0})
    assert house.of() == {"x": 0.5, "y": 0.5}


def test_a_replica_that_ended_is_forgotten_even_when_others_still_write_it_down() -> None:
    house = House("x", "y")
    house.rounds(2, {})
    gone = house.document.replicas["x"]
    del house.replicas["x"]
    for late in ("z", "u", "v"):
        house.rounds(2, {})
        house.replicas[late] = Shares(late, LEASE_S)
        stale = {**house.document.replicas, "x": gone}
        house.document = Document(stale)
    house.rounds(int(LEASE_S) + 2, {})
    assert set(house.document.replicas) == {"y", "z", "u", "v"}
    assert house.sum() == pytest.approx(1)


def test_a_lost_document_makes_nobody_believe_to_be_alone() -> None:
    house = House("x", "y", "z")
    house.rounds(3, {"x": 1.0, "y": 1.0})
    house.document = Document()
    house.rounds(1, {"x": 1.0, "y": 1.0})
    assert house.sum() <= 1 + EXACT
    assert len(house.document.replicas) == 3


def test_until_a_replica_knows_it_takes_its_part_of_those_expected() -> None:
    assert House("x", expected=4).of() == {"x": 0.25}
    assert House("x").of() == {"x": 1.0}


def test_a_new_replica_is_above_the_total_by_its_own_part_until_the_others_have_seen_it() -> None:
    house = House("x", "y")
    house.rounds(3, {"x": 1.0, "y": 1.0})
    house.replicas["z"] = Shares("z", LEASE_S)
    house.exchange("z", a=1.0)
    assert house.sum() <= 1 + 1 / 3 + EXACT
    house.rounds(1, {"x": 1.0, "y": 1.0, "z": 1.0})
    assert house.sum() <= 1 + EXACT
    house.rounds(4, {"x": 1.0, "y": 1.0, "z": 1.0})
    assert house.of() == {"x": 0.333, "y": 0.333, "z": 0.333}


def test_a_replica_that_comes_to_a_busy_party_has_its_part_from_its_first_beat_on() -> None:
    house = House("x")
    house.replicas["x"].at_once = True
    house.rounds(3, {"x": 0.5})
    house.replicas["y"] = Shares("y", LEASE_S, at_once=True)
    house.exchange("y", a=0.5)
    assert house.of()["y"] == 0.5
    house.rounds(1, {"x": 0.5, "y": 0.5})
    assert house.of() == {"x": 0.5, "y": 0.5}
    house.cut.add("y")
    house.rounds(int(LEASE_S) + 2, {"x": 0.5})
    assert house.of() == {"x": 1.0, "y": 0.5}
    house.cut.clear()
    house.exchange("y", a=0.5)
    assert house.of()["y"] == 0.5, "back after a silence"
    house.rounds(1, {"x": 0.5, "y": 0.5})
    assert house.of() == {"x": 0.5, "y": 0.5}


steps = st.lists(
    st.tuples(st.sampled_from(["x", "y", "z"]), st.floats(0, 1), st.floats(0, 1), st.booleans()),
    max_size=60,
)


@given(steps)
def test_in_whatever_order_replicas_write_all_shares_are_at_most_the_total(
    given_steps: list[Any],
) -> None:
    house = House("x", "y", "z")
    house.rounds(2, {})
    for name, asked, other, lost in given_steps:
        house.now += 0.3
        if lost:  # the write of another came in between, or the store did not answer
            house.replicas[name].next(house.document, {"a": asked, "b": other}, house.now)
        else:
            house.exchange(name, a=asked, b=other)
        for party in ("a", "b"):
            held = [one.of(party, house.now) for one in house.replicas.values()]
            living = [one for one in house.replicas.values() if one.is_leased(house.now)]
            if len(living) == 3:
                assert sum(held) <= 1 + EXACT
            assert sum(held) <= 1 + (3 - len(living)) / 3 + 1 / 3 + 1e-3


@given(steps)
def test_with_parts_at_once_all_are_the_total_as_soon_as_each_has_seen_each(
    given_steps: list[Any],
) -> None:
    house = House("x", "y", "z")
    for one in house.replicas.values():
        one.at_once = True
    house.rounds(2, {})
    for name, asked, other, lost in given_steps:
        house.now += 0.3
        if not lost:
            house.exchange(name, a=asked, b=other)
    for party in ("a", "b"):
        house.rounds(2, {"x": 0.9, "y": 0.9, "z": 0.1}, party)
        assert house.sum(party) <= 1 + EXACT


def test_what_others_count_is_added_once_and_a_missed_beat_loses_nothing() -> None:
    def at(calls: int, failures: int, **more: Counts) -> Document:
        return Document({"b": Replica(1, 2, {}, {"up": Counts(calls, failures), **more})})

    others = OthersCounts("a")
    assert others.since(at(100, 50)) == {}  # what was before this one looked is not new
    assert others.since(at(103, 52)) == {"up": Counts(3, 2)}
    assert others.since(at(103, 52)) == {}
    assert others.since(at(110, 52, down=Counts(1, 1))) == {
        "up": Counts(7, 0),
        "down": Counts(1, 1),
    }
    assert others.since(at(2, 1)) == {}  # it has begun anew: nothing is below nothing
    own = Document({"a": Replica(1, 1, {}, {"up": Counts(9, 9)})})
    assert others.since(own) == {}


def test_counts_are_written_with_the_entry() -> None:
    shares = Shares("a", 5)
    document = shares.next(Document(), {}, 0.0, {"up": Counts(3, 1)})
    assert document.replicas["a"].counts == {"up": Counts(3, 1)}


def test_what_is_in_use_is_held_until_it_ends_and_no_other_takes_it() -> None:
    a, b = Shares("a", 5), Shares("b", 5)
    document = a.next(Document(), {"up": 1.0}, 0.0)
    a.wrote(document, 0.0)
    assert a.of("up", 0.0) == 1.0
    document = b.next(document, {"up": 1.0}, 0.1)
    b.wrote(document, 0.1)
    assert b.of("up", 0.1) == 0.0
    document = a.next(document, {"up": 1.0}, 1.0, None, {"up": 0.8})
    a.wrote(document, 1.0)
    assert (a.of("up", 1.0), document.replicas["a"].part("up").held) == (0.5, 0.8)
    document = b.next(document, {"up": 1.0}, 1.1)
    b.wrote(document, 1.1)
    assert round(b.of("up", 1.1), 6) == 0.2
    document = a.next(document, {"up": 1.0}, 2.0, None, {"up": 0.3})
    a.wrote(document, 2.0)
    document = b.next(document, {"up": 1.0}, 2.1)
    b.wrote(document, 2.1)
    assert (a.of("up", 2.1), b.of("up", 2.1)) == (0.5, 0.5)


def test_what_is_used_is_held_as_far_as_it_was_held_before() -> None:
    house = House("x", "y")
    house.rounds(2, {})
    house.rounds(4, {"x": 1.0})
    x = house.replicas["x"]

    def written(party: str, asked: float, used: float) -> float:
        made = x.next(house.document, {party: asked}, house.now, None, {party: used})
        return round(made.replicas["x"].part(party).held, 3)

    assert written("a", 0.1, 0.9) == 0.9
    assert written("a", 0.1, 5.0) == 0.95, "no more than it held"
    house.exchange("y", a=0.0, b=1.0)
    assert written("b", 0.3, 5.0) == 0.5, "of what was not written it held an equal part"


def test_who_has_lost_the_document_still_counts_those_it_has_just_seen() -> None:
    house = House("x", "y", "z")
    house.rounds(3, {"x": 1.0, "y": 1.0})
    house.document = Document()
    house.exchange("x", a=1.0)
    assert house.replicas["x"].members == 3
    assert set(house.document.replicas) == {"x", "y", "z"}


def test_a_party_that_asks_for_half_of_an_equal_part_is_not_written_down() -> None:
    house = House("x", "y")
    house.rounds(3, {"x": 0.25})
    assert not house.document.replicas["x"].parts
    house.rounds(1, {"x": 0.26})
    assert house.document.replicas["x"].parts


def test_a_party_that_asks_for_little_again_is_shared_equally_again() -> None:
    house = House("x", "y")
    house.rounds(2, {})
    house.rounds(4, {"x": 1.0})
    house.rounds(4, {"x": 0.2})
    assert house.of() == {"x": 0.5, "y": 0.5}


def test_next_to_nothing_is_not_asked() -> None:
    house = House("x", "y")
    house.rounds(4, {"x": 0.0005, "y": 0.9})
    assert house.document.replicas["x"].parts["a"].asked == 0


def test_of_very_many_parties_those_that_ask_for_most_are_written_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PARTIES_MAX", 1)
    house = House("x", "y")
    house.rounds(2, {})
    house.exchange("x", a=0.6, b=0.9, c=0.7)
    assert set(house.document.replicas["x"].parts) == {"b"}


def test_parts_at_once_are_given_only_until_all_others_have_seen_the_replica() -> None:
    house = House("x", "y")
    for one in house.replicas.values():
        one.at_once = True
    house.rounds(2, {})
    house.rounds(4, {"x": 1.0})
    house.exchange("y", a=1.0)
    assert house.of()["y"] == 0.05, "what the other holds is not free"
    house.rounds(4, {"x": 1.0, "y": 1.0})
    house.replicas["z"] = Shares("z", LEASE_S, at_once=True)
    house.exchange("z", a=1.0)
    house.exchange("x", a=1.0)
    house.exchange("z", a=1.0)
    assert house.of() == {"x": 0.333, "y": 0.5, "z": 0.333}, "the other has not seen it yet"


def test_what_one_counts_itself_is_not_of_others() -> None:
    others = OthersCounts("a")
    for calls in (9, 12):
        own = Document({"a": Replica(1, 1, {}, {"up": Counts(calls, calls)})})
        assert others.since(own) == {}


def test_a_part_is_not_used_before_it_is_written_and_a_lost_answer_repeats_no_beat() -> None:
    house = House("x", "y")
    house.rounds(2, {})
    x, y = house.replicas["x"], house.document.replicas["y"]
    free = {**house.document.replicas, "y": replace(y, parts={"b": Part(0.05, 0.0)})}
    stored = x.next(Document(free), {"b": 1.0}, house.now)
    assert stored.replicas["x"].part("b").held == 0.95
    assert x.of("b", house.now) == 0.5
    beat = stored.replicas["x"].beat
    assert x.next(stored, {"b": 1.0}, house.now).replicas["x"].beat > beat


def test_one_that_has_gone_is_not_remembered_for_ever() -> None:
    house = House("x", "y")
    house.rounds(2, {})
    house.cut.add("y")
    house.rounds(int(LEASE_S) + 2, {})
    assert set(house.document.replicas) == {"x"}
    assert not house.replicas["x"]._seen
