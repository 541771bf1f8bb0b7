"""Accounting days as they come: noted when the ledger closes them, filled, proved, shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import date, timedelta
from typing import Final

from grpc import aio

from shoudan.core.v1 import core_pb2
from shoudan_finance import filling, proving
from shoudan_finance.chain_check import DayDiffers
from shoudan_finance.context import Context
from shoudan_finance.kinds import FILL_DAY, FOLLOW_DAYS, FillDay, FollowDays
from shoudan_finance.pay_client import DAYS_MAX
from shoudan_finance.refusals import DayIncomplete, DayNotFound
from shoudan_finance.states import DayStatus
from shoudan_finance.store import days, movements
from shoudan_finance.store.days import AccountFact, Day
from shoudan_finance.store.movements import Movement
from shoudan_kit import log, metrics
from shoudan_kit.tasks.kinds import Task
from shoudan_kit.tasks.unit_of_work import UnitOfWork

OPEN_MAX: Final = 100  # days that are filled at a time, oldest first
PAGE_ROWS: Final = 1000
AWAY_S: Final = 30.0
# By way of the table, which holds one of each: what is due at once runs from memory, the only one or not.
SOON_S: Final = 0.01
ARM_EVERY_S: Final = 600.0
WATCH_EVERY_S: Final = 60.0
CLOSED_EVENT: Final = "shoudan.events.pay.ledger.day_closed"  # of the pay service
CONSUMER: Final = "finance-days"

INCOMPLETE_S: Final = metrics.gauge(
    "finance_day_incomplete_seconds",
    "Seconds since the ledger closed the oldest day that is not complete here; 0 when all are.",
)

_log = log.get_logger("finance")


# ------------------------------------------------------------ following
async def arm_forever(context: Context) -> None:
    """See to it that days are followed: at the start, and again should the task have been lost."""
    while True:
        async with context.app.work("finance.arm") as work:
            work.tasks.add(FOLLOW_DAYS, FollowDays(), order_no="days", delay_s=SOON_S)
        await asyncio.sleep(ARM_EVERY_S)


async def heed_events(context: Context) -> None:
    """Note days as the ledger says that they are closed: a hint, the next look finds them, too."""

    async def closed(_: Sequence[core_pb2.Event]) -> None:
        try:
            await note(context)
        except aio.AioRpcError as error:
            _log.info("ledger_away", code=error.code().name)

    await context.app.bus.consume(CONSUMER, CLOSED_EVENT, closed)


async def follow(context: Context, task: Task[FollowDays]) -> None:
    """Note the days that are closed and have those filled that are not complete; come again later."""
    try:
        await note(context)
    except aio.AioRpcError as error:
        task.retry_after(AWAY_S, f"pay: {error.code().name}")
        return
    task.retry_after(context.app.settings.follow_s)


async def note(context: Context) -> None:
    """Note closed days, oldest first; each that is not complete gets its task, unless it has one."""
    while True:
        async with context.app.db.connect() as db:
            known = await days.last(db)
        first = None if known is None else known + timedelta(days=1)
        closed = await context.pay.closed_days(first)
        async with context.app.work("finance.note") as work:
            if closed:
                await days.note(work.db, closed)
            for day in await days.incomplete(work.db, OPEN_MAX):
                _add_fill(work, day)
        if len(closed) < DAYS_MAX:
            return


def _add_fill(work: UnitOfWork, day: date) -> None:
    """Have the day filled, unless it is."""
    which = day.isoformat()
    work.tasks.add(FILL_DAY, FillDay(which), order_no=which, delay_s=SOON_S)


# ------------------------------------------------------------ filling
async def fill(context: Context, task: Task[FillDay]) -> None:
    """Bring a day nearer to being complete. One that differs is left to the next look."""
    day = await get(context, date.fromisoformat(task.payload.day))
    if day.status is not DayStatus.COMPLETE:
        try:
            if not await filling.fill(context, day.day):
                task.retry_after(0)
                return
            await proving.prove(context, day)
        except DayDiffers as error:
            _log.error("finance_day_differs", day=task.payload.day, what=error.what)
            await proving.disprove(context, day, error.what)
        except aio.AioRpcError as error:
            task.retry_after(AWAY_S, f"pay: {error.code().name}")
            return
    async with context.app.work("finance.filled") as work:
        work.tasks.finish(task)


async def watch_forever(context: Context) -> None:
    """Report how long a closed day has not been complete."""
    while True:
        async with context.app.db.connect() as db:
            INCOMPLETE_S().set(await days.incomplete_s(db))
        await asyncio.sleep(WATCH_EVERY_S)


# ------------------------------------------------------------ showing
async def get(context: Context, day: date) -> Day:
    """One day. Refuses DayNotFound."""
    async with context.app.db.connect() as db:
        found = await days.get(db, day)
    if found is None:
        raise DayNotFound(day.isoformat())
    return found


async def page(context: Context, after: date, most: int) -> list[Day]:
    """Days behind `after`, oldest first."""
    async with context.app.db.connect() as db:
        return await days.page(db, after, most)


async def recheck(context: Context, day: date) -> Day:
    """Fill and prove a day at once; the day as it was. Refuses DayNotFound."""
    found = await get(context, day)
    if found.status is not DayStatus.COMPLETE:
        async with context.app.work("finance.recheck") as work:
            _add_fill(work, day)
    return found


async def complete_day(context: Context, day: date) -> Day:
    """A day whose facts may be used. Refuses DayNotFound, DayIncomplete."""
    found = await get(context, day)
    if found.status is not DayStatus.COMPLETE:
        raise DayIncomplete(day.isoformat(), found.status.name.lower())
    return found


async def export_accounts(
    context: Context, day: date, after: int
) -> AsyncIterator[list[AccountFact]]:
    """What a complete day came to in accounts behind `after`. Refuses DayNotFound, DayIncomplete."""
    await complete_day(context, day)
    while True:
        async with context.app.db.connect() as db:
            found = await days.accounts(db, day, after=after, most=PAGE_ROWS)
        if found:
            yield found
            after = found[-1].account_id
        if len(found) < PAGE_ROWS:
            return


async def export_movements(
    context: Context, day: date, account_id: int, after: tuple[int, int]
) -> AsyncIterator[list[Movement]]:
    """Movements of a complete day behind a key. Refuses DayNotFound, DayIncomplete."""
    await complete_day(context, day)
    while True:
        async with context.app.db.connect() as db:
            found = await movements.page(
                db, day, account_id=account_id, after=after, most=PAGE_ROWS
            )
        if found:
            yield found
            after = found[-1].account_id, found[-1].seq
        if len(found) < PAGE_ROWS:
            return
