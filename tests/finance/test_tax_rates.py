"""Promises of rates: the newest of a product holds, else of its line; a mistake stops the start, in words."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from shoudan_finance import tax_rates
from shoudan_finance.tax_rates import RateWrong, Terms

FILE = """
[[rate]]
line = 7
goods = "0.13"
service = "0.06"
[[rate]]
line = 7
product = "p1"
first_day = 2026-07-01
goods = "0.09"
service = "0"
[[rate]]
line = 7
first_day = 2026-10-01
goods = "0.1"
service = "0.06"
"""


def test_the_newest_rate_of_a_product_holds_and_else_that_of_its_line(tmp_path: Path) -> None:
    file = tmp_path / "rates.toml"
    file.write_text(FILE)
    rates = tax_rates.load(str(file))
    assert rates.of(7, "p1", date(2026, 6, 30)) == Terms(130_000, 60_000)
    assert rates.of(7, "p1", date(2026, 7, 1)) == Terms(90_000, 0)
    assert rates.of(7, "p2", date(2026, 9, 30)) == Terms(130_000, 60_000)
    assert rates.of(7, "p2", date(2026, 10, 1)) == Terms(100_000, 60_000)
    assert rates.of(8, "p1", date(2026, 10, 1)) is None
    assert tax_rates.load("").of(7, "", date(2026, 10, 1)) is None


@pytest.mark.parametrize(
    "wrong",
    [
        'line = 7\ngoods = "13"\nservice = "0"',
        'line = 7\ngoods = "0.13%"\nservice = "0"',
        'line = 7\ngoods = "0.13"\nservice = "-0.1"',
        'line = 7\ngoods = 0.13\nservice = "0"',
        'line = 7\ngoods = "0.13"',
        'line = 7\ngoods = "0.13"\nservice = "0"\ncolour = 1',
        'line = 7\ngoods = "0.1"\nservice = "0"\n[[rate]]\nline = 7\ngoods = "0.1"\nservice = "0"',
    ],
)
def test_a_mistake_is_said_in_words(tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "rates.toml"
    file.write_text(f"[[rate]]\n{wrong}\n")
    with pytest.raises(RateWrong, match=r"rates\.toml"):
        tax_rates.load(str(file))
    with pytest.raises(RateWrong):
        tax_rates.load(str(tmp_path / "away.toml"))
