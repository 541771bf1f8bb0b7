"""Our side of the books: what our services did with a supplier on a day, as entries.

The facts are the trades that finance holds; where they come from is known here alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Final

from grpc import aio

from shoudan_finance import pay_books
from shoudan_finance.context import Context
from shoudan_finance.entries import Line
from shoudan_finance.states import Book, EntryKind, Outcome
from shoudan_finance.store import entries, pay_trades, runs, trades
from shoudan_finance.store.entries import Digests
from shoudan_finance.store.pay_trades import PayTrade
from shoudan_finance.store.trades import Trade
from shoudan_kit import log

_log = log.get_logger("finance")

PAGE_ROWS: Final = 10_000
FAILED: Final = 90  # trade.result
_BEGINNING: Final = (datetime(1970, 1, 1, tzinfo=UTC), 0)
_KINDS: Final = {3: EntryKind.DELIVERY, 4: EntryKind.RETURN}
# What is corrected later was an exception before, which persons decide; it is no second movement.
_PAYS: Final = {5: EntryKind.PAY, 6: EntryKind.REFUND}


async def take_day(context: Context, source: str, day: date) -> int | None:
    """Make entries of a day's trades with a supplier or payment component; how many there are.

    A repeat adds nothing. None while PayServer does not say what ended: the day is looked at again.
    """
    try:
        here = await pay_books.take(context, day)
    except aio.AioRpcError as error:
        _log.info("pays_not_here", day=str(day), error=error.code().name)
        here = False
    count = await _take_trades(context, source, day)
    if not here:
        return None
    count += await _take_pays(context, source, day)
    async with context.app.work("finance.our_side_taken") as work:
        await runs.took(work.db, source, day, count)
    return count


async def _take_trades(context: Context, source: str, day: date) -> int:
    after, count, digests = _BEGINNING, 0, Digests(context.accounts.hidden)
    while True:
        async with context.app.work("finance.our_side") as work:
            found = await trades.of_channel(
                work.db, day, source, up=True, after=after, most=PAGE_ROWS
            )
            count += len(found)
            if found:
                ids = context.app.ids.take(len(found))
                made = entries.made(_lines(source, found), ids, digests, Book.OURS, 0)
                now = await entries.lock(work.db, source, Book.OURS)
                await entries.add(work.db, made, now)
                after = found[-1].end_time, found[-1].number
        if len(found) < PAGE_ROWS:
            return count


async def _take_pays(context: Context, source: str, day: date) -> int:
    after, count, digests = 0, 0, Digests(context.accounts.hidden)
    while True:
        async with context.app.work("finance.our_side") as work:
            found = await pay_trades.of_component(work.db, day, source, after=after, most=PAGE_ROWS)
            lines = [_pay_line(source, one) for one in found if one.kind in _PAYS]
            count += len(lines)
            if lines:
                ids = context.app.ids.take(len(lines))
                made = entries.made(lines, ids, digests, Book.OURS, 0)
                now = await entries.lock(work.db, source, Book.OURS)
                await entries.add(work.db, made, now)
        if len(found) < PAGE_ROWS:
            return count
        after = found[-1].record_id


def _pay_line(source: str, one: PayTrade) -> Line:
    return Line(
        row_no=0,
        source=source,
        kind=_PAYS[one.kind],
        our_no=str(one.number),
        their_no=one.third_no,
        settle_no="",
        account="",
        face_micros=0,
        amount_micros=one.amount_micros if one.kind == 5 else -one.amount_micros,
        outcome=Outcome.SUCCESS if one.succeeded else Outcome.FAILED,
        happen_time=one.end_time,
        trade_no=one.number,
    )


def _lines(source: str, found: Sequence[Trade]) -> list[Line]:
    return [
        Line(
            row_no=0,
            source=source,
            kind=_KINDS[one.kind],
            our_no=one.supplier_no or str(one.number),
            their_no=one.their_no[:64],
            settle_no="",
            account=one.account,
            face_micros=one.face_micros,
            amount_micros=-one.amount_micros if one.kind == 3 else one.amount_micros,
            outcome=Outcome.FAILED if one.result == FAILED else Outcome.SUCCESS,
            happen_time=one.end_time,
            trade_no=one.number,
        )
        for one in found
    ]
