"""The demo's bill proves itself, and ends with the balance that the order left."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shoudan_cli.clients import Failed
from shoudan_cli.demo_bill import proofs

YUAN = 1_000_000


def manifest(*accounts: tuple[str, int, int, int, int]) -> str:
    names = ("groups", "opening_micros", "credits_micros", "debits_micros", "closing_micros")
    found: list[dict[str, Any]] = [
        {"eid": "test", **dict(zip(names, one, strict=True))} for one in accounts
    ]
    return msgspec.json.encode({"accounts": found}).decode()


def test_each_account_has_a_line_that_proves_it() -> None:
    made = manifest(
        ("down_channel", 0, 100 * YUAN, 198 * YUAN // 10, 802 * YUAN // 10),
        ("down_commission", 50, 0, 0, 50),
    )
    assert list(proofs(made, 802 * YUAN // 10)) == [
        "down_channel/test: 0 + 100 - 19.8 = 80.2 元",
        "down_commission/test: 0.00005 + 0 - 0 = 0.00005 元",
    ]


@pytest.mark.parametrize(
    ("closing", "balance"), [(81 * YUAN, 81 * YUAN), (80 * YUAN, 81 * YUAN)], ids=["sum", "balance"]
)
def test_a_bill_that_does_not_hold_ends_the_demo(closing: int, balance: int) -> None:
    made = manifest(("down_channel", 0, 100 * YUAN, 20 * YUAN, closing))
    with pytest.raises(Failed):
        list(proofs(made, balance))


def test_a_bill_without_the_channels_account_is_none() -> None:
    with pytest.raises(Failed):
        list(proofs(manifest(("down_service", 0, 0, 0, 0)), 0))
