"""`shoudan clock`: how spans are written and read; what it does is seen in tests/system/test_mixed.py."""

from __future__ import annotations

import pytest
import typer

from shoudan.core.v1 import operations_service_pb2 as core
from shoudan_cli.clock import TURNED, seconds_of
from shoudan_kit.clock_steps import ahead_s, moments, span


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("1d", 86_400), ("1d12h", 129_600), ("2w", 1_209_600), ("0s", 0)],
)
def test_a_span_is_read_as_it_is_said(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "d", "-1d", "1 d", "1y", "1.5h", "１d", "9999999d"])
def test_what_is_no_span_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="such as"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (90, "1m 30s"), (86_400, "1d"), (1_209_600 + 3_600, "14d 1h")]
)
def test_a_span_is_written_for_people(seconds: int, text: str) -> None:
    assert span(seconds) == text


def test_a_long_jump_ends_in_small_steps_and_a_step_is_kept_to() -> None:
    day = moments(60, 86_400, 0)
    assert (day[0], day[-1]) == (86_460 - 1_800, 86_460)
    assert len(day) == 6
    assert moments(60, 90, 0) == [150]
    assert moments(60, 0, 0) == []
    assert moments(0, 250, 100) == [100, 200, 250]
    assert moments(0, 200, 100) == [100, 200]
    assert moments(0, 0, 100) == []


def test_an_interrupted_advance_is_seen() -> None:
    level = {"order": [core.Clock(shift_s=5)], "pay": [core.Clock(shift_s=5)]}
    assert ahead_s(level) == {5}
    assert ahead_s({**level, "finance": [core.Clock(shift_s=0)]}) == {0, 5}


def test_tokens_keep_the_real_time() -> None:
    assert "identity" not in TURNED
    assert "finance" in TURNED
