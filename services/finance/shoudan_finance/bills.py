"""Bills: asked for, made once, published whole, read in pieces; those of each day by themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import date, timedelta
from typing import Any, Final

from grpc import aio

from shoudan_finance import bill_making, day_books, events, pay_books, trade_books
from shoudan_finance.bill_files import BillInvalid
from shoudan_finance.bill_making import FUND
from shoudan_finance.context import Context
from shoudan_finance.kinds import MAKE_BILL, NOTIFY_BILL, MakeBill, NotifyBill
from shoudan_finance.refusals import (
    BillNotFound,
    BillNotPublished,
    FieldInvalid,
    TradeDayIncomplete,
)
from shoudan_finance.states import BillEvent, BillStatus
from shoudan_finance.store import bill_facts, pay_trades
from shoudan_finance.store import bills as store
from shoudan_finance.store.bills import Bill, NewBill, Place, Published, Spec
from shoudan_finance.store.movements import day_number
from shoudan_finance.trade_bills import MERCHANT, SUPPLY, TRADE
from shoudan_kit import faults, log
from shoudan_kit.db.columns import names_of
from shoudan_kit.rpc.refusal import Refusal
from shoudan_kit.tasks.kinds import Task
from shoudan_kit.tasks.unit_of_work import UnitOfWork

KINDS: Final = (FUND, TRADE, SUPPLY, MERCHANT)
FORMATS: Final = ("csv", "xlsx", "pdf")
DAYS_MAX: Final = 366
DAILY_MAX: Final = 20  # days whose bills are asked for at a time, oldest first
LOOK_BACK: Final = timedelta(days=62)  # bills of older days are made when they are asked for
HOLDERS_MAX: Final = 20_000  # of one day
SOON_S: Final = 0.01
HOLD_S: Final = 600.0

_log = log.get_logger("finance")


class BillTaken(Exception):
    """Another process has begun to make the bill."""


# ------------------------------------------------------------ asking
async def ask(context: Context, spec: Spec) -> Bill:
    """The bill of these, made in the background unless it is there; one that failed is made again.

    Refuses FieldInvalid, and while its days are not complete DayNotFound, DayIncomplete, TradeDayNotFound,
    TradeDayIncomplete.
    """
    _check(spec)
    await _hold_days(context, spec)
    async with context.app.work("finance.ask_bill") as work:
        await store.add(work.db, [_new(context, spec)])
        bill = await store.find(work.db, spec)
        assert bill is not None, "it was there or has been added"
        if bill.status is BillStatus.FAILED:
            await store.move(work.db, bill.bill_id, bill.attempt, BillEvent.AGAIN)
        if bill.status is not BillStatus.PUBLISHED:
            _add_make(work, bill.bill_id)
    return await get(context, bill.bill_id)


def _new(context: Context, spec: Spec) -> NewBill:
    fields: dict[str, Any] = {name: getattr(spec, name) for name in names_of(Spec)}
    return NewBill(**fields, bill_id=context.app.ids.next())


def _add_make(work: UnitOfWork, bill_id: int) -> None:
    work.tasks.add(MAKE_BILL, MakeBill(bill_id), order_no=str(bill_id), delay_s=SOON_S)


def _check(spec: Spec) -> None:
    if spec.kind not in KINDS:
        raise FieldInvalid("kind", "say fund, trade, supply or merchant")
    if spec.format not in FORMATS:
        raise FieldInvalid("format", f"say {' or '.join(FORMATS)}")
    if spec.format != "csv" and (spec.bom or spec.backtick or spec.packed):
        raise FieldInvalid("format", "only csv has bom, backtick and packed")
    if not 0 <= (spec.last_day - spec.first_day).days < DAYS_MAX:
        raise FieldInvalid("last_day", f"within {DAYS_MAX} days from first_day on")
    if spec.kind == FUND and not (spec.ident and (spec.eid or spec.groups)):
        raise FieldInvalid("eid", "say ident, and eid or groups")
    if spec.kind != FUND and (not spec.eid or spec.ident or spec.groups):
        raise FieldInvalid("eid", "say eid alone: whose trades")


async def _hold_days(context: Context, spec: Spec) -> None:
    """Refuses while a day of the bill may still change; days before the books began have nothing."""
    checked = day_books.complete_day if spec.kind == FUND else trade_books.fetched_day
    await checked(context, spec.last_day)
    async with context.app.db.connect() as db:
        begun = await bill_facts.first_day(db)
    day = max(spec.first_day, begun or spec.last_day)
    while day < spec.last_day:
        await checked(context, day)
        day += timedelta(days=1)


# ------------------------------------------------------------ making
async def make(context: Context, task: Task[MakeBill]) -> None:
    """Make a bill and publish it; the task ends with it. What a process before left of it goes."""
    bill, attempt = await get(context, task.payload.bill_id), context.app.ids.next()
    if (why := await _waits_for(context, bill)) is not None:
        task.retry_after(HOLD_S, why)
        return
    async with context.app.work("finance.begin_bill") as work:
        if not await store.begin(work.db, bill.bill_id, attempt):
            work.tasks.finish(task)
            return

    async def keep(rows: int, pieces: Sequence[tuple[int, bytes]]) -> None:
        async with context.app.work("finance.bill_pieces") as work:
            if not await store.append(work.db, bill, attempt, rows, pieces):
                raise BillTaken
        faults.hit("finance.bill_piece_stored")

    try:
        made = await bill_making.make(context, bill, keep)
    except BillTaken:
        task.retry_after(SOON_S, "another process makes it")
        return
    except (BillInvalid, Refusal) as error:
        await _fail(context, task, (bill.bill_id, attempt), error)
        return
    faults.hit("finance.bill_whole")
    await _publish(context, task, bill, attempt, made)


async def _waits_for(context: Context, bill: Bill) -> str | None:
    """Why a bill cannot be made yet: a month that was asked for by itself may have a day that differs."""
    try:
        await _hold_days(context, bill)
        if bill.kind == MERCHANT:
            await _take_pays(context, bill.first_day, bill.last_day)
    except Refusal as refusal:
        return refusal.reason
    except aio.AioRpcError as error:
        return f"pay: {error.code().name}"
    return None


async def _take_pays(context: Context, first: date, last: date) -> None:
    """Have the days' results of PayServer here. Refuses TradeDayIncomplete; raises grpc.RpcError."""
    async with context.app.db.connect() as db:
        begun = await bill_facts.first_day(db)
    day = max(first, begun or last)
    while day <= last:
        if not await pay_books.take(context, day):
            raise TradeDayIncomplete(day.isoformat())
        day += timedelta(days=1)


async def _publish(
    context: Context, task: Task[MakeBill], bill: Bill, attempt: int, made: Published
) -> None:
    async with context.app.work("finance.publish_bill") as work:
        if await store.publish(work.db, bill.bill_id, attempt, made):
            events.bill_ready(work, bill, made)
            if _is_noticed(context, bill):
                work.tasks.add(NOTIFY_BILL, NotifyBill(bill.bill_id), order_no=str(bill.bill_id))
        work.tasks.finish(task)


def _is_noticed(context: Context, bill: Bill) -> bool:
    """Whether a channel is notified of it: of its plain bill of a day or a month, one of each kind."""
    plain = bill.format == "csv" and not (bill.bom or bill.backtick or bill.packed)
    whose = bill.kind == TRADE or (
        bill.kind == FUND and not bill.groups and bill.ident == context.app.settings.trade_ident
    )
    return plain and whose and bool(bill.eid) and bill_making.whole(bill)


async def _fail(
    context: Context, task: Task[MakeBill], making: tuple[int, int], error: BillInvalid | Refusal
) -> None:
    what = error.reason if isinstance(error, Refusal) else str(error)
    async with context.app.work("finance.fail_bill") as work:
        failed = await store.move(work.db, *making, BillEvent.FAILED, what)
        if failed:
            work.tasks.finish(task)
    if failed:
        _log.error("bill_failed", bill_id=making[0], what=what)
    else:
        task.retry_after(SOON_S, "another process makes it")


# ------------------------------------------------------------ by themselves
async def daily(context: Context) -> None:
    """Ask for the bills of days whose facts are here: each day's, and on a month's last day the month's."""
    for kind in context.app.settings.daily_bills:
        async with context.app.db.connect() as db:
            newest = await bill_facts.newest_day(db)
            if newest is None:
                return
            days = await store.days_to_bill(db, kind, newest - LOOK_BACK, newest, DAILY_MAX)
        for day in days:
            try:
                if kind == MERCHANT:
                    month_ends = (day + timedelta(days=1)).day == 1
                    await _take_pays(context, day.replace(day=1) if month_ends else day, day)
            except (TradeDayIncomplete, aio.AioRpcError) as error:
                _log.info("pays_not_here", day=str(day), error=type(error).__name__)
                break
            await _ask_day(context, kind, day)


async def _ask_day(context: Context, kind: str, day: date) -> None:
    months = [day.replace(day=1)] if (day + timedelta(days=1)).day == 1 else []
    async with context.app.work("finance.daily_bills") as work:
        if not await store.billed(work.db, day, kind):
            return
        specs: list[Spec] = []
        for first in (day, *months):
            specs += [
                Spec(kind, ident, "", eid, first, day, "csv", 0, 0, 0)
                for ident, eid in await _billed_in(work, kind, first, day)
            ]
        for bill_id in await store.add(work.db, [_new(context, one) for one in specs]):
            _add_make(work, bill_id)


async def _billed_in(work: UnitOfWork, kind: str, first: date, last: date) -> list[tuple[str, str]]:
    """Whose bills are made: system and number of those that moved, or traded, in a period."""
    if kind == FUND:
        found = await bill_facts.holders(work.db, first, last, HOLDERS_MAX)
        return [(one.ident, one.eid) for one in found]
    eids: set[str] = set()
    for at in range((last - first).days + 1):
        day = first + timedelta(days=at)
        if kind == MERCHANT:
            eids |= set(await pay_trades.merchants(work.db, day))
        else:
            eids |= set(await bill_facts.traded(work.db, day_number(day), up=kind == SUPPLY))
    return [("", eid) for eid in sorted(eids)]


# ------------------------------------------------------------ reading
async def get(context: Context, bill_id: int) -> Bill:
    """One bill. Refuses BillNotFound."""
    async with context.app.db.connect() as db:
        found = await store.get(db, bill_id)
    if found is None:
        raise BillNotFound(str(bill_id))
    return found


async def page(context: Context, before: int, most: int) -> list[Bill]:
    """Bills that were asked for before one, newest first."""
    async with context.app.db.connect() as db:
        return await store.page(db, before, most)


async def page_of(context: Context, eid: str, after: Place, most: int) -> list[Bill]:
    """Bills of a channel, supplier or member behind one, by their first day."""
    async with context.app.db.connect() as db:
        return await store.page_of(db, eid, after, most)


async def export(context: Context, bill_id: int, after: int) -> AsyncIterator[tuple[int, bytes]]:
    """The pieces of a published bill's file behind one. Refuses BillNotFound, BillNotPublished."""
    bill = await _published(context, bill_id)
    while True:
        async with context.app.db.connect() as db:
            body = await store.piece(db, bill, after)
        if body is None:
            return
        after += 1
        yield after, body


async def remake(context: Context, bill_id: int) -> bool:
    """Make a published bill again beside itself: whether it has the same bytes and manifest.

    Refuses BillNotFound, BillNotPublished.
    """
    bill = await _published(context, bill_id)

    async def passed(_: int, __: Sequence[tuple[int, bytes]]) -> None:
        """What is written again is not stored."""

    try:
        made = await bill_making.make(context, bill, passed)
    except BillInvalid:
        return False
    return (made.sha256, made.manifest) == (bill.sha256, bill.manifest)


async def _published(context: Context, bill_id: int) -> Bill:
    bill = await get(context, bill_id)
    if bill.status is not BillStatus.PUBLISHED:
        raise BillNotPublished(str(bill_id), bill.status.name.lower(), bill.what)
    return bill
