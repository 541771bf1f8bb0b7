"""Promises: a key's shard is the same for ever, and keys spread evenly; a number tells its shard."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoudan_kit.clock import TurnedClock
from shoudan_kit.db.shard_keys import shard_of_key, shard_of_number
from shoudan_kit.ids import SHARD_MAX, IdMaker

# Of the decision's page: whoever computes them elsewhere compares with these.
VECTORS = [
    (("",), 11),
    (("BudweiserTmall",), 4),
    (("24647807",), 8),
    (("ACME", "1001"), 11),
    (("收单",), 6),
]


@pytest.mark.parametrize(("parts", "of_sixteen"), VECTORS)
def test_the_shard_of_a_key_is_the_documented_one(parts, of_sixteen):
    assert shard_of_key(parts, 16) == of_sixteen


@given(st.lists(st.text(), min_size=1, max_size=3))
def test_with_twice_the_shards_each_one_splits_in_two(parts):
    for shards in (1, 2, 4, 8):
        assert shard_of_key(parts, 2 * shards) in {
            shard_of_key(parts, shards),
            shard_of_key(parts, shards) + shards,
        }


def test_parts_of_a_key_are_not_run_together():
    keys = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("", "abc")]
    assert len({shard_of_key(key, 2**30) for key in keys}) == len(keys)


def test_keys_spread_evenly():
    counts = Counter(shard_of_key((f"channel-{n}",), 16) for n in range(16_000))
    assert len(counts) == 16
    assert all(850 < count < 1_150 for count in counts.values())


@given(st.integers(0, SHARD_MAX), st.integers(0, 63))
def test_a_number_tells_the_shard_that_made_it(shard, node):
    maker = IdMaker(node, TurnedClock(datetime(2026, 11, 20, tzinfo=UTC)), shard=shard)
    assert {shard_of_number(one, 16) for one in maker.take(50)} == {shard}


@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from([1, 2, 4, 8, 16]))
def test_every_number_has_a_shard_that_exists(number, shards):
    assert 0 <= shard_of_number(number, shards) < shards


def test_a_number_of_a_system_that_had_one_shard_is_in_the_first():
    made = IdMaker(63, TurnedClock(datetime(2026, 1, 1, tzinfo=UTC))).take(5_000)
    assert {shard_of_number(one, 16) for one in made} == {0}
