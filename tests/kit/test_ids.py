"""Ids: unique, rising, readable, whatever the clock does."""

from datetime import UTC, datetime, timedelta
from operator import lt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoudan_kit.clock import TurnedClock
from shoudan_kit.db import pages
from shoudan_kit.ids import (
    EPOCH,
    NODE_MAX,
    SEQUENCE_BITS,
    START_BITS,
    TAKE_MAX,
    IdMaker,
    first_of,
    id_of,
    node_of,
    time_of,
)

START = datetime(2026, 11, 20, 11, 30, tzinfo=UTC)


@given(
    st.lists(
        st.tuples(st.floats(-5, 5), st.integers(0, 9_000)),
        max_size=8,
    )
)
def test_ids_rise_without_repeat_whatever_the_clock_does(steps):
    clock = TurnedClock(START)
    maker = IdMaker(7, clock)
    made = [maker.next()]
    for seconds, n in steps:
        clock.step(seconds)
        made += maker.take(n)
    assert made == sorted(set(made))
    assert {node_of(one) for one in made} == {7}
    assert all(0 < one < 2**63 for one in made)


def test_different_nodes_never_make_the_same_id():
    makers = [IdMaker(node, TurnedClock(START)) for node in (0, 1, NODE_MAX)]
    made = [one for maker in makers for one in maker.take(10_000)]
    assert len(set(made)) == len(made)


def test_ten_million_ids_of_leased_nodes_never_meet():
    """Ids of different nodes differ in the node's bits; those of one rise, whoever has the node and what
    the clocks of its owners say."""
    clocks = [TurnedClock(START + timedelta(milliseconds=40 * n)) for n in range(8)]
    makers = [IdMaker(node, clock) for node, clock in enumerate(clocks)]
    last, made_of_all = dict.fromkeys(range(8), -1), 0
    for step in range(100):
        for place, maker in enumerate(makers):
            made = maker.take(12_500)
            node = (place + step) % 8
            assert node_of(made[0]) == node_of(made[-1]) == node
            assert last[node] < made[0]
            assert all(map(lt, made, made[1:]))
            last[node], made_of_all = made[-1], made_of_all + len(made)
        # Every number goes to another process, whose clock may be behind that of the last owner.
        reached = [maker.reached_ms for maker in makers]
        for place, maker in enumerate(makers):
            node = (place + step + 1) % 8
            floor_ms = reached[(place + 1) % 8]
            maker.lease(node, floor_ms, floor_ms + 3_600_000)
            clocks[place].step(0.001)
    assert made_of_all == 10_000_000


@pytest.mark.parametrize("between", [0, 1, 3_000, 100_000])
def test_two_ids_do_not_tell_how_many_were_made_between_them(between):
    """A partner sees the time of its own orders, which it knows, and a random place in the millisecond."""
    clock = TurnedClock(START)
    maker, seen = IdMaker(3, clock), set()
    for _ in range(20):
        before = maker.next()
        maker.take(between)
        clock.step(1)
        after = maker.next()
        assert time_of(after) - time_of(before) == timedelta(seconds=1)
        seen.add(after & ((1 << SEQUENCE_BITS) - 1))
    assert max(seen) < 1 << START_BITS
    assert len(seen) > 15


def test_an_id_tells_its_time_to_the_millisecond():
    clock = TurnedClock(START + timedelta(microseconds=123_999))
    assert time_of(IdMaker(3, clock).next()) == START + timedelta(milliseconds=123)


def test_more_than_a_millisecond_holds_borrows_from_the_next():
    made = IdMaker(0, TurnedClock(START)).take(4_096 + 1)
    assert time_of(made[-1]) - time_of(made[0]) == timedelta(milliseconds=1)


def test_taking_none_changes_nothing():
    maker = IdMaker(0, TurnedClock(START))
    first = maker.next()
    assert maker.take(0) == []
    assert maker.next() == first + 1


@pytest.mark.parametrize("node", [-1, NODE_MAX + 1])
def test_a_node_number_beyond_six_bits_is_refused(node):
    with pytest.raises(ValueError, match="node"):
        IdMaker(node, TurnedClock(START))


@pytest.mark.parametrize("n", [-1, TAKE_MAX + 1])
def test_an_unbounded_number_of_ids_is_refused(n):
    with pytest.raises(ValueError, match="take"):
        IdMaker(0, TurnedClock(START)).take(n)


@pytest.mark.parametrize("moment", [EPOCH - timedelta(days=1), EPOCH + timedelta(days=26_000)])
def test_a_clock_outside_the_range_makes_no_ids(moment):
    with pytest.raises(OverflowError):
        IdMaker(0, TurnedClock(moment)).next()


def test_an_id_is_read_as_long_as_ids_are_made():
    for year in (2026, 2028, 2089):
        made = IdMaker(7, TurnedClock(datetime(year, 1, 1, tzinfo=UTC))).next()
        assert id_of(str(made)) == made
    assert id_of(str(2**63 - 1)) == 2**63 - 1


def test_a_moment_after_all_ids_has_the_greatest():
    for year in (2200, 9999):
        assert first_of(datetime(year, 1, 1, tzinfo=UTC)) == 2**63 - 1
    assert pages.end_id(datetime.max.replace(tzinfo=UTC)) == 2**63 - 1
    assert pages.first_id(datetime.min.replace(tzinfo=UTC)) == 0


@pytest.mark.parametrize("text", ["", "x", "-1", "1.0", " 1", "\u0661", str(2**63), "9" * 5000])
def test_what_is_no_id_is_read_as_none(text):
    assert id_of(text) is None
