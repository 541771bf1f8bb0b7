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
    IdLeaseLost,
    IdMaker,
    first_of,
    id_of,
    milliseconds,
    node_of,
    shard_of,
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


def test_where_time_shard_and_node_stand_in_an_id():
    made = IdMaker(5, TurnedClock(EPOCH + timedelta(milliseconds=1)), shard=3).next()
    assert (made >> 22, made >> 18 & 15, made >> 12 & 63) == (1, 3, 5)
    assert (shard_of(made), node_of(made)) == (3, 5)
    assert shard_of(IdMaker(0, TurnedClock(START)).next()) == 0
    last = IdMaker(63, TurnedClock(START), shard=15).next()
    assert (shard_of(last), node_of(last), time_of(last)) == (15, 63, START)
    assert datetime(2020, 1, 1, tzinfo=UTC) == EPOCH
    assert first_of(EPOCH + timedelta(milliseconds=1)) == 1 << 22


@pytest.mark.parametrize("shard", [-1, 16])
def test_a_shard_beyond_four_bits_is_refused(shard):
    with pytest.raises(ValueError, match="shard"):
        IdMaker(0, TurnedClock(START), shard=shard)


def test_ids_are_made_from_the_first_moment_to_the_last_and_a_clock_set_back_only_borrows():
    assert IdMaker(0, TurnedClock(EPOCH)).next() < 1 << 22
    last = EPOCH + timedelta(milliseconds=2**41 - 1)
    assert time_of(IdMaker(0, TurnedClock(last)).next()) == last
    with pytest.raises(OverflowError):
        IdMaker(0, TurnedClock(last + timedelta(milliseconds=1))).next()
    clock = TurnedClock(START)
    maker = IdMaker(0, clock)
    first = maker.next()
    clock.step((EPOCH - START).total_seconds() - 1)
    assert maker.next() == first + 1


def test_a_node_number_is_used_while_it_is_leased_and_after_what_another_made_with_it():
    clock = TurnedClock(START)
    maker, now_ms = IdMaker(0, clock), milliseconds(START)
    maker.lease(7, now_ms + 1, now_ms + 3)
    made = maker.next()
    assert (node_of(made), time_of(made)) == (7, START + timedelta(milliseconds=2))
    clock.step(0.004)
    with pytest.raises(IdLeaseLost):
        maker.next()
    maker.extend(now_ms + 4)
    assert node_of(maker.next()) == 7
    maker.lose()
    with pytest.raises(IdLeaseLost):
        maker.next()


def test_more_digits_than_an_id_has_are_none():
    assert id_of("0" * 19 + "1") is None
