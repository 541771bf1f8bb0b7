"""Promises of bounds on calls in flight: no party's bound is above everybody's, and none is awaited."""

from __future__ import annotations

import pytest

from shoudan_kit.limits import bulkhead as module
from shoudan_kit.limits.bulkhead import (
    REST_AFTER,
    Admission,
    Bulkhead,
    Change,
    Limits,
    Party,
    Resting,
)

LIMITS = Limits(total_max=100, group_max=30, party_max=10, rest_s=5, rest_s_max=60, off_s=3_600)


def fill(bulkhead: Bulkhead, group: str, host: str) -> int:
    """Begin calls until one is not let in; how many began."""
    count = 0
    while bulkhead.enter((group, host), 0.0) is Admission.GO:
        count += 1
    return count


@pytest.mark.parametrize(
    "wrong", [{"group_max": 100}, {"party_max": 31}, {"total_max": 30}, {"reserve": 11}]
)
def test_a_partys_bound_above_everybodys_cannot_be_written(wrong: dict[str, int]) -> None:
    facts = {"total_max": 100, "group_max": 30, "party_max": 10} | wrong
    with pytest.raises(AssertionError):
        Limits(**facts)


def test_a_host_bounds_itself_and_a_group_with_many_hosts_bounds_itself() -> None:
    bulkhead = Bulkhead(LIMITS)
    assert [fill(bulkhead, "one", f"h{n}") for n in range(5)] == [10, 10, 10, 0, 0]
    assert bulkhead.enter(("one", "h0"), 0.0) is Admission.FULL
    assert bulkhead.enter(("one", "h9"), 0.0) is Admission.BUSY
    assert fill(bulkhead, "two", "h0") == 10  # the same host, another group


def test_however_many_hang_a_group_has_its_reserve() -> None:
    bulkhead = Bulkhead(LIMITS)
    for group in range(50):
        for host in range(3):
            fill(bulkhead, f"g{group}", f"h{host}")
    assert bulkhead.in_flight >= LIMITS.total_max
    assert fill(bulkhead, "late", "host") == LIMITS.reserve


def test_a_dead_host_is_tried_ever_more_rarely_by_one_call_and_is_off_after_long() -> None:
    bulkhead, party, now, gaps = Bulkhead(LIMITS), ("one", "dead"), 0.0, list[float]()
    changes: list[Change] = []
    for _ in range(REST_AFTER):
        assert bulkhead.enter(party, now) is Admission.GO
        changes.append(bulkhead.leave(party, now, answered=False))
    assert changes == [Change.NONE] * (REST_AFTER - 1) + [Change.DOWN]
    while now < LIMITS.off_s:
        assert bulkhead.enter(party, now) is Admission.RESTING
        gaps.append(bulkhead.rest_left_s(party, now))
        now += gaps[-1]
        assert bulkhead.enter(party, now) is Admission.GO
        assert bulkhead.enter(party, now) is not Admission.GO
        assert bulkhead.leave(party, now, answered=False) is Change.NONE
    assert gaps[:6] == [5, 10, 20, 40, 60, 60]
    assert bulkhead.enter(party, now) is Admission.OFF
    now += bulkhead.rest_left_s(party, now)
    assert bulkhead.enter(party, now) is Admission.GO  # still tried now and then
    assert bulkhead.leave(party, now, answered=True) is Change.UP
    assert fill(bulkhead, *party) == LIMITS.party_max


def test_a_host_that_answers_now_and_then_does_not_rest() -> None:
    bulkhead, party = Bulkhead(LIMITS), ("one", "shaky")
    for answered in [False, False, False, False, True] * 20:
        assert bulkhead.enter(party, 0.0) is Admission.GO
        bulkhead.leave(party, 0.0, answered=answered)
    assert bulkhead.resting == 0


def test_a_call_that_was_not_made_says_nothing_of_its_host() -> None:
    bulkhead, party = Bulkhead(LIMITS), ("one", "dead")
    for _ in range(REST_AFTER - 1):
        assert bulkhead.enter(party, 0.0) is Admission.GO
        bulkhead.leave(party, 0.0, answered=False)
    for _ in range(2 * REST_AFTER):
        assert bulkhead.enter(party, 0.0) is Admission.GO
        assert bulkhead.leave(party, 0.0, answered=None) is Change.NONE
    assert bulkhead.in_flight == 0
    assert bulkhead.enter(party, 0.0) is Admission.GO
    assert bulkhead.leave(party, 0.0, answered=False) is Change.DOWN


def failing(bulkhead: Bulkhead, party: Party, now: float, times: int = REST_AFTER) -> None:
    """So many calls, one after another, without an answer."""
    for _ in range(times):
        assert bulkhead.enter(party, now) is Admission.GO
        bulkhead.leave(party, now, answered=False)


def test_all_together_are_bounded_exactly_and_a_reserve_of_one_is_one() -> None:
    bulkhead = Bulkhead(Limits(total_max=12, group_max=10, party_max=10, reserve=1))
    assert [fill(bulkhead, name, "h") for name in ("one", "two", "three")] == [10, 2, 1]
    assert bulkhead.enter(("two", "h"), 0.0) is Admission.BUSY
    assert bulkhead.enter(("three", "h"), 0.0, None, 5) is Admission.BUSY, "a lower bound is none"
    assert bulkhead.enter(("four", "h"), 0.0, None, 0) is Admission.BUSY


def test_what_ends_leaves_room_for_one_more_and_nothing_behind() -> None:
    bulkhead = Bulkhead(LIMITS)
    for n in range(3):
        assert fill(bulkhead, "one", f"h{n}") == 10
    assert bulkhead.calls_of(("one", "h3")) == 0
    for _ in range(2):
        bulkhead.leave(("one", "h0"), 0.0, answered=True)
        assert fill(bulkhead, "one", "h0") == 1
        assert bulkhead.enter(("one", "h3"), 0.0) is Admission.BUSY
    for n in range(3):
        for _ in range(10):
            bulkhead.leave(("one", f"h{n}"), 0.0, answered=True)
    assert (bulkhead.in_flight, bulkhead.in_flight_by_party()) == (0, {})
    assert not bulkhead._groups
    assert [fill(bulkhead, "one", f"h{n}") for n in range(4)] == [10, 10, 10, 0]


def test_who_failed_without_resting_is_let_in_beside_other_calls_and_is_not_said_to_be_back() -> (
    None
):
    bulkhead, party = Bulkhead(LIMITS), ("one", "shaky")
    assert bulkhead.enter(party, 0.0) is Admission.GO
    failing(bulkhead, party, 0.0, 1)
    assert bulkhead.enter(party, 0.0) is Admission.GO
    assert (bulkhead.resting, bulkhead.resting_parties("x", 0.0)) == (0, [])
    assert bulkhead.leave(party, 0.0, answered=True) is Change.NONE
    assert bulkhead.leave(party, 0.0, answered=True) is Change.NONE


def test_calls_that_began_before_a_rest_do_not_make_it_longer() -> None:
    bulkhead, party = Bulkhead(LIMITS), ("one", "dead")
    assert fill(bulkhead, *party) == 10
    ends = [bulkhead.leave(party, 7.0, answered=False) for _ in range(10)]
    assert ends.count(Change.DOWN) == 1
    assert bulkhead.rest_left_s(party, 7.0) == LIMITS.rest_s
    assert bulkhead.rest_left_s(party, 7.0 + LIMITS.rest_s + 1) == 0.0
    assert bulkhead.rest_left_s(("one", "other"), 7.0) == 0.0


def test_operators_see_who_rests_since_when_and_until_when_longest_first() -> None:
    bulkhead, since = Bulkhead(LIMITS), 1_000.0
    failing(bulkhead, ("one", "late"), since + 1)
    failing(bulkhead, ("two", "early"), since)
    assert bulkhead.resting == 2
    assert bulkhead.resting_parties("notify", since + 3) == [
        Resting("notify", "two", "early", off=False, left_s=2.0, failing_s=3.0),
        Resting("notify", "one", "late", off=False, left_s=3.0, failing_s=2.0),
    ]
    at = since + LIMITS.off_s
    assert [(one.off, one.left_s) for one in bulkhead.resting_parties("notify", at)] == [
        (True, 0.0),
        (False, 0.0),
    ]
    failing(bulkhead, ("two", "early"), at - 1, 1)
    assert bulkhead.enter(("two", "early"), at - 0.5) is Admission.RESTING
    assert bulkhead.enter(("two", "early"), at) is Admission.OFF, "from this moment on"


def test_of_very_many_that_fail_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARTIES_MAX", 2)
    monkeypatch.setattr(module, "RESTING_MAX", 1)
    bulkhead = Bulkhead(LIMITS)
    for host in ("a", "b"):
        failing(bulkhead, ("one", host), 0.0)
    assert bulkhead.resting == 2
    assert len(bulkhead.resting_parties("x", 0.0)) == 1
    failing(bulkhead, ("one", "c"), 0.0)
    assert bulkhead.resting == 2
    assert bulkhead.enter(("one", "a"), 0.0) is Admission.GO
    assert bulkhead.enter(("one", "b"), 0.0) is Admission.RESTING
