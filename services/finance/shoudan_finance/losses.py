"""Losses (亏本): deliveries that cost more than they sold for, as the ledger's own postings say it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from shoudan_finance.context import Context
from shoudan_finance.store import days, movements, trades
from shoudan_finance.store import losses as store
from shoudan_finance.store.losses import LOSS_MEMO, Marked
from shoudan_finance.store.movements import Piece, day_number
from shoudan_finance.store.trades import Trade
from shoudan_kit.money import yuan_to_micros

ACCOUNTS_MAX: Final = 500  # of one page
READ_MAX: Final = 50_000  # movements that one statement looks at
PAGE_ROWS: Final = 1000
SUPPLIERS: Final = "up_"  # their accounts' kinds begin so


@dataclass(frozen=True, slots=True)
class Loss:
    """One of them; what the trade would say is empty while it is not here."""

    record_id: int
    account_id: int
    number: int
    amount_micros: int
    loss_micros: int
    order_id: int = 0
    line_id: int = 0
    down_channel_no: str = ""
    up_channel_no: str = ""

    def key(self, by: str) -> str:
        """Whose it is: the line's, the channel's or the supplier's."""
        keys = {
            "line": str(self.line_id),
            "channel": self.down_channel_no,
            "supplier": self.up_channel_no,
        }
        return keys[by]


def said(memo: str) -> int | None:
    """The loss that a memo says; None when it says none, as one that a person wrote may."""
    mark, _, rest = memo.partition(" ")
    amount, _, unit = rest.partition(" ")
    if mark != LOSS_MEMO or unit != "元":
        return None
    try:
        return yuan_to_micros(amount)
    except ValueError:
        return None


async def of_day(context: Context, day: date) -> AsyncIterator[list[Loss]]:
    """Those of a complete day, by account and position in it, page by page."""
    after = 0
    while True:
        async with context.app.db.connect() as db:
            facts = await days.accounts(db, day, after=after, most=ACCOUNTS_MAX)
        pieces = [
            Piece(day_number(day), one.account_id, one.seq_from - 1, one.seq_to)
            for one in facts
            if one.groups.startswith(SUPPLIERS)
        ]
        for part in movements.in_parts(pieces, READ_MAX):
            async with context.app.db.connect() as db:
                found = await store.marked(db, part)
            for some in _paged(found):
                yield await _losses(context, some)
        if len(facts) < ACCOUNTS_MAX:
            return
        after = facts[-1].account_id


def _paged(found: Sequence[Marked]) -> Iterator[Sequence[Marked]]:
    for start in range(0, len(found), PAGE_ROWS):
        yield found[start : start + PAGE_ROWS]


async def _losses(context: Context, found: Sequence[Marked]) -> list[Loss]:
    numbers = [int(one.trade_no) for one in found if one.trade_no.isdecimal()]
    async with context.app.db.connect() as db:
        known = await trades.by_number(db, numbers)
    return [made for one in found if (made := _loss(one, known)) is not None]


def _loss(one: Marked, known: Mapping[int, Trade]) -> Loss | None:
    lost = said(one.memo)
    if lost is None or not one.trade_no.isdecimal():
        return None
    number = int(one.trade_no)
    made = Loss(one.record_id, one.account_id, number, one.amount_micros, lost)
    trade = known.get(number)
    if trade is None:
        return made
    of_trade = trade.order_id, trade.line_id, trade.down_channel_no, trade.up_channel_no
    return Loss(one.record_id, one.account_id, number, one.amount_micros, lost, *of_trade)
