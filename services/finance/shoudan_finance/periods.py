"""Periods: a day or a month is closed once its days are complete and its exceptions are decided."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, timedelta
from struct import Struct
from typing import Final

from shoudan.finance.v1 import book_service_pb2 as pb
from shoudan_finance import reports
from shoudan_finance.context import Context
from shoudan_finance.refusals import (
    ExceptionsOpen,
    FieldInvalid,
    PeriodNotClosed,
    PeriodWithin,
)
from shoudan_finance.store import periods as store
from shoudan_finance.store.periods import NewPeriod, NewReopening, Period, Reopening
from shoudan_kit.proposals.kinds import Applied, Effect, Kind
from shoudan_kit.tasks.unit_of_work import UnitOfWork

METHOD: Final = "shoudan.finance.v1.BookService/ReopenPeriod"
REASON_MAX: Final = 256
_ROW: Final = Struct(">qqqqq")


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed period, and whether it was closed before."""

    period: Period
    existed: bool


async def close(context: Context, first: date, last: date, by: str) -> Closed:
    """Close a day or a month: what its trial balance comes to is stored for good.

    What the ledger posts later has a later day, so nothing is added to it. Repeats: gives it back.
    Refuses FieldInvalid, ExceptionsOpen, DayNotFound, DayIncomplete, TradeDayNotFound, TradeDayIncomplete.
    """
    if not _whole(first, last):
        raise FieldInvalid("last_day", "the same day, or the last one of its month")
    async with context.app.db.connect() as db:
        found = await store.get(db, first, last)
        waiting = await store.open_exceptions(db, last)
    if found is not None:
        return Closed(found, existed=True)
    most = context.app.settings.close_exceptions_max
    if waiting > most:
        raise ExceptionsOpen(waiting, most)
    await reports.traded_days(context, first, last)
    made = await _summed(context, first, last, by)
    async with context.app.work("finance.close_period") as work:
        added = await store.add(work.db, made)
        stored = await store.get(work.db, first, last)
    assert stored is not None, "it was there or has been added"
    return Closed(stored, existed=not added)


def _whole(first: date, last: date) -> bool:
    return first == last or (first.day == 1 and last == _month_end(first))


def _month_end(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)


async def _summed(context: Context, first: date, last: date, by: str) -> NewPeriod:
    sha, accounts, sums = hashlib.sha256(), 0, [0, 0, 0, 0]
    async for page in reports.trial_balance(context, first, last):
        for one in page:
            row = (
                *(one.opening_micros, one.debits_micros),
                *(one.credits_micros, one.closing_micros),
            )
            sha.update(_ROW.pack(one.account_id, *row))
            sums = [total + amount for total, amount in zip(sums, row, strict=True)]
            accounts += 1
    return NewPeriod(first, last, accounts, *sums, digest=sha.digest(), closed_by=by)


# ------------------------------------------------------------ opening again
def kind(context: Context) -> Kind:
    """ReopenPeriod as a call of two persons."""

    async def apply(work: UnitOfWork, request: pb.ReopenPeriodRequest) -> Applied:
        return await reopen_in(context, work, request)

    return Kind(METHOD, pb.ReopenPeriodRequest, lambda _: None, apply)


async def reopen(context: Context, request: pb.ReopenPeriodRequest) -> None:
    """Open a period again. Refuses as `reopen_in` does."""
    async with context.app.work("finance.reopen_period") as work:
        await reopen_in(context, work, request)


async def reopen_in(context: Context, work: UnitOfWork, request: pb.ReopenPeriodRequest) -> Applied:
    """Open a period again inside a transaction; how it had been closed stays known.

    Refuses FieldInvalid, PeriodNotClosed, PeriodWithin.
    """
    first = _day("first_day", request.first_day)
    last = _day("last_day", request.last_day) if request.last_day else first
    if not 0 < len(request.reason) <= REASON_MAX or not request.reason.isprintable():
        raise FieldInvalid("reason", f"1 to {REASON_MAX} printable characters")
    around = await store.around(work.db, first, last)
    if around is not None:
        raise PeriodWithin(around.first_day.isoformat(), around.last_day.isoformat())
    number = context.app.ids.next()
    made = NewReopening(number, first, last, request.reason, request.by)
    if not await store.reopen(work.db, made):
        raise PeriodNotClosed(first.isoformat(), last.isoformat())
    what = f"period {first}" if first == last else f"period {first}..{last}"
    return Applied([Effect(what, "closed", "open")], f"reopen {what}: {request.reason}")


def _day(field: str, value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise FieldInvalid(field, "is no day of the form yyyy-mm-dd") from None


async def reopenings(context: Context, before: int, most: int) -> list[Reopening]:
    """Periods that were opened again, newest first."""
    async with context.app.db.connect() as db:
        return await store.reopenings(db, before, most)


# ------------------------------------------------------------ showing
async def page(context: Context, after: tuple[date, date], most: int) -> list[Period]:
    """Closed periods behind one, by first and last day."""
    async with context.app.db.connect() as db:
        return await store.page(db, after, most)
