"""Promises: a sealed text opens in its own row only, and is found without being told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoudan_kit.secrets.sealing import KeyRing, SealedColumn, Unsealable, hidden_in, is_sealed

RING = KeyRing({"k1": b"1" * 32}, b"i" * 32)
COLUMN = SealedColumn("t", RING)


@given(st.text(min_size=1, max_size=64), st.integers(1, 2**62))
def test_a_sealed_text_opens_in_its_own_row_only_and_tells_nothing(text: str, key: int) -> None:
    stored = COLUMN.seal(key, text)
    assert is_sealed(stored)
    assert stored.isascii()
    assert len(text) < 4 or text not in stored
    assert COLUMN.open(key, stored) == text
    with pytest.raises(Unsealable):
        COLUMN.open(key + 1, stored)
    with pytest.raises(Unsealable):
        SealedColumn("other", RING).open(key, stored)


def test_two_rows_with_one_account_are_found_but_stored_differently() -> None:
    one, two = COLUMN.seal(1, "13912345678"), COLUMN.seal(2, "13912345678")
    assert one != two
    for written in ("13912345678", "+86 139-1234-5678", "86 13912345678"):
        assert COLUMN.holds(one, written)
        assert COLUMN.holds("13912345678", written)
    assert not COLUMN.holds(one, "13912345679")
    assert not COLUMN.holds("", "13912345678")


def test_empty_text_and_text_in_clear_stay_as_they_are() -> None:
    assert COLUMN.seal(1, "") == ""
    assert COLUMN.open(1, "13912345678") == "13912345678"
    off = SealedColumn("t", RING, seals=False)
    assert off.seal(1, "13912345678") == "13912345678"
    assert off.open(1, COLUMN.seal(1, "13912345678")) == "13912345678"


def test_old_keys_open_what_they_sealed() -> None:
    stored = COLUMN.seal(1, "13912345678")
    newer = SealedColumn("t", KeyRing({"k2": b"2" * 32, "k1": b"1" * 32}, b"i" * 32))
    assert newer.open(1, stored) == "13912345678"
    assert newer.holds(newer.seal(1, "13912345678"), "13912345678")


def test_an_account_that_another_text_repeats_is_hidden_there() -> None:
    assert hidden_in("no such number 13912345678!", "13912345678") == "no such number 139****78!"
    assert hidden_in("card 12345", "12345") == "card ****"
    assert hidden_in("1 of 10", "1") == "1 of 10"
