"""Our side of the books: what our services did with a supplier on a day, as entries.

The facts are the trades that finance holds; where they come from is known here alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Final

from shoudan_finance.context import Context
from shoudan_finance.entries import Line
from shoudan_finance.states import Book, EntryKind, Outcome
from shoudan_finance.store import entries, runs, trades
from shoudan_finance.store.entries import Digests
from shoudan_finance.store.trades import Trade

PAGE_ROWS: Final = 10_000
FAILED: Final = 90  # trade.result
_BEGINNING: Final = (datetime(1970, 1, 1, tzinfo=UTC), 0)
_KINDS: Final = {3: EntryKind.DELIVERY, 4: EntryKind.RETURN}


async def take_day(context: Context, source: str, day: date) -> int:
    """Make entries of a day's trades with a supplier; how many there are. A repeat adds nothing."""
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
                await runs.took(work.db, source, day, count)
                return count


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
