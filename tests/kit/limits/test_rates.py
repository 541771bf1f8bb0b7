"""A bucket holds its burst and no more, however long nobody drew from it."""

from __future__ import annotations

import pytest

from shoudan_kit.limits import rates as module
from shoudan_kit.limits.rates import Drawn, Rate, Rates


def test_a_long_silence_fills_the_burst_and_no_more() -> None:
    rates = Rates(10, 3)
    assert [rates.take("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert [rates.take("a", 1_000_000.0) for _ in range(4)] == [True, True, True, False]


def test_what_was_drawn_comes_back_at_the_rate_for_each_party_alone() -> None:
    rates = Rates(10, 1)
    assert rates.take("a", 0.0)
    assert not rates.take("a", 0.05)
    assert rates.take("b", 0.05)
    assert rates.take("a", 0.2)


def test_a_draw_says_how_many_are_left_and_when_there_are_more() -> None:
    rates, rate = Rates(1, 1), Rate(2.0, 4.0)
    assert rates.draw("a", 100.0, rate) == Drawn(True, 3, 0.0, 0.5)
    assert rates.draw("a", 100.0, rate) == Drawn(True, 2, 0.0, 1.0)
    assert rates.draw("a", 100.0, rate) == Drawn(True, 1, 0.0, 1.5)
    assert rates.draw("a", 100.0, rate) == Drawn(True, 0, 0.5, 2.0)
    assert rates.draw("a", 100.25, rate) == Drawn(False, 0, 0.25, 1.75)
    assert rates.draw("a", 100.5, rate) == Drawn(True, 0, 0.5, 2.0), "to the moment it was said"


def test_more_than_one_is_not_waited_for() -> None:
    assert Rates(1, 1).draw("a", 0.0, Rate(1.0, 2.5)) == Drawn(True, 1, 0.0, 1.0)


def test_a_burst_that_has_shrunk_is_lost_and_a_rate_of_nothing_never_fills() -> None:
    rates = Rates(1, 1)
    assert rates.draw("a", 0.0, Rate(1.0, 9.0)).left == 8
    assert rates.draw("a", 0.0, Rate(1.0, 3.0)).left == 2
    assert rates.draw("b", 0.0, Rate(0.0, 1.0)).within
    drawn = rates.draw("b", 1_000_000.0, Rate(0.0, 1.0))
    assert (drawn.within, drawn.wait_s >= 1e6, drawn.full_s >= 1e6) == (False, True, True)


def test_a_share_of_a_rate_is_at_least_one_use_at_once() -> None:
    rate = Rate(10.0, 5.0)
    assert rate.part(0.5) == Rate(5.0, 2.5)
    assert rate.part(0.01) == Rate(0.1, 1.0)
    assert rate.part(1) is rate


def test_of_very_many_parties_the_one_used_longest_ago_begins_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PARTIES_MAX", 2)
    rates = Rates(1, 1)
    for party in ("a", "b"):
        assert rates.take(party, 0.0)
    assert [rates.take(party, 0.0) for party in ("b", "a")] == [False, False]
    assert rates.take("c", 0.0)
    assert [rates.take(party, 0.0) for party in ("a", "b")] == [False, True]
