"""Accounting days and records for services that keep books by them, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from shoudan_kit.db.pool import Database
from shoudan_pay.ledger.entries import Key, Record
from shoudan_pay.ledger.pieces import portions
from shoudan_pay.ledger.refusals import AccountNotFound, LedgerDayOpen
from shoudan_pay.ledger.store import accounts as account_store
from shoudan_pay.ledger.store import days as store
from shoudan_pay.ledger.store import records as record_store
from shoudan_pay.ledger.store.records import Piece
from shoudan_pay.refusals import FieldInvalid

PAGE_ROWS: Final = 1000  # of one message, far below what one may hold


async def closed_days(database: Database, after: date, most: int) -> list[store.LedgerDay]:
    """Closed days behind `after`, oldest first."""
    async with database.connect() as db:
        return await store.closed(db, after, most)


async def account_days(
    database: Database, day: date, after: int
) -> AsyncIterator[list[store.NamedDay]]:
    """What a closed day came to in accounts behind `after`. Raises LedgerDayOpen."""
    known = await closed_days(database, day - timedelta(days=1), 1)
    if not known or known[0].day != day:
        raise LedgerDayOpen(day.isoformat())
    while True:
        async with database.connect() as db:
            found = await store.of_day(db, day, after=after, most=PAGE_ROWS)
        if found:
            yield found
            after = found[-1].day.account_id
        if len(found) < PAGE_ROWS:
            return


@dataclass(frozen=True, slots=True)
class Period:
    """An account's closed days, and what it held when they began."""

    opening_micros: int
    days: Sequence[store.AccountDay]


async def period(database: Database, key: Key, first: date, last: date, cut: timedelta) -> Period:
    """The account's days within closed ones. Raises AccountNotFound, LedgerDayOpen."""
    async with database.connect() as db:
        account = (await account_store.by_key(db, [key])).get(key)
        if account is None:
            raise AccountNotFound(*key)
        ends = await store.closed_ends(db)
        for day in (first, last):
            if ends is None or not ends[0] <= day <= ends[1]:
                raise LedgerDayOpen(day.isoformat())
        days = await store.period(db, account.account_id, first, last)
        opening = (
            days[0].opening_micros
            if days
            else await store.opening(db, account.account_id, first, cut)
        )
    return Period(opening, days)


async def records(database: Database, pieces: Sequence[Piece]) -> AsyncIterator[list[Record]]:
    """The records of pieces of chains, in their order. Raises FieldInvalid when some have left."""
    for page in portions(pieces, PAGE_ROWS):
        async with database.connect() as db:
            left = await record_store.edges(db, [one.account_id for one in page])
            for one in page:
                if (edge := left.get(one.account_id)) is not None and one.low < edge.seq:
                    why = f"{one.account_id}: archived up to seq {edge.seq}"
                    raise FieldInvalid("pieces", why)
            found = await record_store.pieces(db, page)
        if found:
            yield found
