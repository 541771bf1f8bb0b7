"""Promises of what holds movements to their day as they arrive, in whatever order accounts come."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime

import pytest

from shoudan_finance.chain_check import ChainCheck, DayDiffers, missing
from shoudan_finance.store.days import AccountFact
from shoudan_finance.store.movements import Movement, Reached, day_number

DAY = date(2026, 11, 29)
COUNT = 3


def fact(account_id: int) -> AccountFact:
    """An account that got 10 three times."""
    return AccountFact(
        day=DAY,
        account_id=account_id,
        ident="oms",
        groups="-",
        eid=str(account_id),
        name="",
        seq_from=5,
        seq_to=4 + COUNT,
        opening_micros=100,
        debits_micros=0,
        credits_micros=10 * COUNT,
        closing_micros=100 + 10 * COUNT,
        head_hash=b"end",
    )


def movement(account_id: int, seq: int) -> Movement:
    return Movement(
        day_no=day_number(DAY),
        account_id=account_id,
        seq=seq,
        record_id=seq,
        contra_account_id=1,
        trade_no="t",
        ext_no="",
        change_type=1,
        trade_type=1,
        about=0,
        amount_micros=10,
        balance_micros=100 + 10 * (seq - 4),
        memo="",
        source="",
        operator="",
        create_time=datetime.now(UTC),
        hash=b"end" if seq == 4 + COUNT else b"",
    )


@pytest.mark.parametrize("accounts", list(itertools.permutations((7, 8, 9))))
def test_accounts_come_in_any_order_each_in_its_own(accounts: tuple[int, ...]) -> None:
    facts = [fact(7), fact(8), fact(9)]
    whole = ChainCheck(facts, {})
    for account_id in accounts:
        whole.add([movement(account_id, seq) for seq in (5, 6, 7)])
    whole.end()
    mixed = ChainCheck(facts, {})
    for seq in (5, 6, 7):
        mixed.add([movement(account_id, seq) for account_id in accounts])
    mixed.end()


def test_what_is_here_already_is_not_wanted_again() -> None:
    facts, reached = [fact(7), fact(8)], {7: Reached(7, 6, 120), 8: Reached(8, 7, 130)}
    (piece,) = missing(facts, reached)
    assert (piece.account_id, piece.low, piece.high) == (7, 6, 7)
    check = ChainCheck(facts, reached)
    with pytest.raises(DayDiffers, match="none of the day's"):
        check.add([movement(8, 7)])
    check.add([movement(7, 7)])
    check.end()


def test_a_chain_that_is_cut_off_differs() -> None:
    check = ChainCheck([fact(7), fact(8)], {})
    check.add([movement(7, 5), movement(7, 6), movement(7, 7), movement(8, 5)])
    with pytest.raises(DayDiffers, match="account 8: its movements end before 7"):
        check.end()
