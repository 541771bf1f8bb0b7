"""A seal covers every column of a record and the record before it, in the form docs/ledger.md gives."""

from __future__ import annotations

import hmac
from datetime import date
from hashlib import sha256
from typing import Any

import pytest

from shoudan_pay.ledger.chain_hash import ID_BYTES, Ring, origin_of

KEY = "k" * 32
PREVIOUS = b"p" * 36
FACTS: dict[str, Any] = {
    "record_id": 1,
    "account_id": 2,
    "contra_account_id": 3,
    "trade_no": "t4",
    "ext_no": "e5",
    "trade_type": 1,
    "change_type": 3,
    "amount_micros": -60,
    "balance_micros": 70,
    "floor_micros": -80,
    "seq": 9,
    "memo": "memo",
    "time_micros": 1_000_000,
}
OTHERS = {
    name: f"{value}x" if isinstance(value, str) else value + 1 for name, value in FACTS.items()
}
ORIGIN = (date(2026, 11, 30), 1, "order", "li")


def by_hand(previous: bytes, origin: tuple[date, int, str, str] | None = None) -> bytes:
    """The same from the description alone."""
    words = [str(value) for value in FACTS.values()]
    if origin is not None:
        words += [origin[0].isoformat(), *map(str, origin[1:])]
    mac = hmac.new(KEY.encode(), previous + "\0".join(words).encode(), sha256).digest()
    return sha256(b"shoudan ledger key\0" + KEY.encode()).digest()[:ID_BYTES] + mac


@pytest.mark.parametrize("previous", [b"", PREVIOUS])
def test_a_seal_is_what_the_description_says(previous: bytes) -> None:
    ring = Ring(KEY)
    assert ring.seal(previous, **FACTS) == by_hand(previous)
    assert ring.seal(previous, **FACTS, origin=origin_of(*ORIGIN)) == by_hand(previous, ORIGIN)


@pytest.mark.parametrize("name", list(FACTS))
def test_no_column_can_be_changed_under_its_seal(name: str) -> None:
    ring = Ring(KEY)
    assert ring.seal(PREVIOUS, **FACTS | {name: OTHERS[name]}) != ring.seal(PREVIOUS, **FACTS)


def test_neither_the_record_before_nor_the_origin_can_be_changed_under_a_seal() -> None:
    ring = Ring(KEY)
    right = ring.seal(PREVIOUS, **FACTS, origin=origin_of(*ORIGIN))
    day, about, source, operator = ORIGIN
    others = (
        (date(2026, 12, 1), about, source, operator),
        (day, about + 1, source, operator),
        (day, about, "pay", operator),
        (day, about, source, "wang"),
    )
    changed = {ring.seal(PREVIOUS, **FACTS, origin=origin_of(*one)) for one in others}
    changed.add(ring.seal(b"q" * 36, **FACTS, origin=origin_of(*ORIGIN)))
    assert len(changed) == 5
    assert right not in changed
