"""Promises of accounts in the books: one has one digest, a few characters are shown, nothing opens it."""

from __future__ import annotations

import pytest

from shoudan_finance.accounts import Accounts, shown

KEY = bytes(range(32))


@pytest.mark.parametrize(
    ("account", "seen"),
    [
        ("13800138000", "138****00"),
        ("12345", "****"),
        ("abc", "****"),
        ("user@example.com", "use****om"),
        ("1000113200000001", "100****01"),
    ],
)
def test_a_few_characters_are_shown(account: str, seen: str) -> None:
    hidden = Accounts(KEY).hidden(account)
    assert (shown(hidden), len(hidden) <= 64) == (seen, True)
    assert account not in hidden


def test_one_account_is_the_same_however_it_is_written_and_another_is_not() -> None:
    hide = Accounts(KEY).hidden
    assert hide("13800138000") == hide("+86 138-0013-8000")
    assert hide("13800138000") != hide("13800138100")
    assert hide("13800138000") != Accounts(bytes(32)).hidden("13800138000")


def test_what_is_hidden_stays_and_without_a_key_nothing_is_kept() -> None:
    hide = Accounts(KEY).hidden
    assert hide(hide("13800138000")) == hide("13800138000")
    assert (hide("138****8000"), hide("")) == ("138****8000", "")
    assert Accounts(None).hidden("13800138000") == ""
