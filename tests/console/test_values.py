"""Promises about values: money is exact, times are Beijing's, and no text becomes a formula."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shoudan_console import statuses
from shoudan_console.values import ICONS, age, cell_text, money, percent, shown, utc
from shoudan_console.visits import local

NOW = datetime(2026, 11, 30, 16, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "¥0.00"),
        (1_234_560_000, "¥1,234.56"),
        (-5_000_000, "-¥5.00"),
        (10_000, "¥0.01"),
        (12_345, "¥0.012345"),
        (9_007_199_254_740_993_000_000, "¥9,007,199,254,740,993.00"),
    ],
)
def test_money_is_exact(micros: int, text: str) -> None:
    assert money(micros) == text


def test_times_are_those_of_beijing() -> None:
    assert shown(NOW) == "2026-12-01 00:30:00"
    assert utc(NOW) == "2026-11-30 16:30:00 UTC"
    assert age(NOW - timedelta(days=3, hours=4, minutes=5), NOW) == "3d 4h"
    assert age(NOW - timedelta(seconds=7), NOW) == "7s"


def test_all_is_said_of_all_alone() -> None:
    assert percent(9_999, 10_000) == "99.9%"
    assert percent(10, 10) == "100.0%"
    assert percent(0, 0) == "–"


@pytest.mark.parametrize("text", ["=1+1", "+86", "-1", "@a", "\tx"])
def test_a_text_is_no_formula_in_a_spreadsheet(text: str) -> None:
    assert cell_text(text, "text") == f"'{text}"
    assert cell_text(-5_000_000, "money") == "-5"


def test_a_status_has_a_word_and_an_icon_beside_its_colour() -> None:
    for known in (statuses.ORDER, statuses.DELIVERY, statuses.REFUND, statuses.NOTIFY):
        for number in known:
            found = statuses.status(known, number)
            assert found.word
            assert found.icon == ICONS[found.tone]
    assert statuses.status(statuses.ORDER, 77).word == "77"


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/\\evil", "/a\r\nb", "x", "/" + "a" * 3_000]
)
def test_no_address_leads_to_another_site(path: str) -> None:
    assert local(path) == "/"


def test_an_address_of_ours_is_kept() -> None:
    assert local("/orders?channel=test") == "/orders?channel=test"
