"""A bucket holds its burst and no more, however long nobody drew from it."""

from __future__ import annotations

from shoudan_kit.limits.rates import Rates


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
