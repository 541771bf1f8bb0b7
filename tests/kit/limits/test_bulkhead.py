"""Promises of bounds on calls in flight: no party's bound is above everybody's, and none is awaited."""

from __future__ import annotations

import pytest

from shoudan_kit.limits.bulkhead import REST_AFTER, Admission, Bulkhead, Change, Limits

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
