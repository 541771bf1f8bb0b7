"""Clocks: what a test may turn, and Beijing time as the documents write it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoudan_kit.clock import SystemClock, TurnedClock, beijing, from_beijing

START = datetime(2026, 11, 20, 11, 30, tzinfo=UTC)
EARLIEST = datetime.fromisoformat("1000-01-02")
LATEST = datetime.fromisoformat("9999-12-30")


def test_a_turned_clock_stands_still_until_advanced():
    clock = TurnedClock(START)
    assert (clock.now(), clock.monotonic()) == (START, 0.0)
    clock.advance(1.5)
    assert (clock.now(), clock.monotonic()) == (START + timedelta(seconds=1.5), 1.5)


def test_a_wall_clock_set_back_leaves_monotonic_time_alone():
    clock = TurnedClock(START)
    clock.step(-3600)
    assert (clock.now(), clock.monotonic()) == (START - timedelta(hours=1), 0.0)


def test_time_does_not_advance_backwards():
    with pytest.raises(ValueError, match="does not go back"):
        TurnedClock(START).advance(-1)


def test_a_clock_without_time_zone_is_refused():
    with pytest.raises(ValueError, match="aware"):
        TurnedClock(datetime.fromisoformat("2026-01-01"))
    with pytest.raises(ValueError, match="aware"):
        beijing(datetime.fromisoformat("2026-01-01"))


def test_the_system_clock_is_aware_and_monotonic():
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() <= clock.monotonic()


def test_beijing_is_eight_hours_ahead_and_drops_fractions():
    assert beijing(START.replace(microsecond=999_999)) == "2026-11-20 19:30:00"
    assert from_beijing("2026-11-20 19:30:00") == START


@given(st.datetimes(EARLIEST, LATEST, timezones=st.just(UTC)))
def test_beijing_text_and_back_is_the_same_second(moment):
    assert from_beijing(beijing(moment)) == moment.replace(microsecond=0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-20",
        "2026-11-20T19:30:00",
        "2026-11-20 19:30:00 ",
        "2026-13-01 00:00:00",
        "2026-02-30 00:00:00",
        "2026-11-20 24:00:00",
        "２０２６-11-20 19:30:00",
        "0000-00-00 00:00:00",
    ],
)
def test_other_shapes_of_time_are_refused(text):
    with pytest.raises(
        ValueError, match=r"not of the form|must be in|day .* out of range|is out of range"
    ):
        from_beijing(text)
