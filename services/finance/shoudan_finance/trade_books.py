"""Days of trades: noted with the accounting days, fetched from order, held to the ledger, shown."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Final

from grpc import StatusCode, aio

from shoudan_finance import trade_proof
from shoudan_finance.context import Context
from shoudan_finance.kinds import FILL_TRADES, FillTrades
from shoudan_finance.refusals import TradeDayIncomplete, TradeDayNotFound
from shoudan_finance.states import DayStatus, TradeDayEvent, TradeDayStatus
from shoudan_finance.store import days
from shoudan_finance.store import trades as store
from shoudan_finance.store.movements import Piece, day_number, in_parts
from shoudan_finance.store.trades import Trade, TradeDay
from shoudan_finance.trade_proof import PAGE_ROWS
from shoudan_kit import faults, log
from shoudan_kit.tasks.kinds import Task
from shoudan_kit.tasks.unit_of_work import UnitOfWork

OPEN_MAX: Final = 100  # days that are fetched or proved at a time, oldest first
NOTED_MAX: Final = 1000
RUN_MAX: Final = 200  # pages of one run, so that a process that stops is not waited for
LISTED_MAX: Final = 20_000  # movements that one statement lists
AWAY_S: Final = 30.0
SOON_S: Final = 0.01
REFUSED_S: Final = 600.0  # the day is not over there, or its orders are archived
PROVE_AGAIN_S: Final = 600.0
WITH_SUPPLIERS: Final = frozenset({3, 4})  # deliveries and returns (trade.kind)
BEFORE_ALL: Final = date(1999, 12, 31)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_log = log.get_logger("finance")


# ------------------------------------------------------------ following
async def note(context: Context) -> None:
    """Note the days that the books have; each that does not agree gets its task, unless it has one."""
    async with context.app.work("finance.note_trades") as work:
        known = await store.last(work.db)
        await store.note(work.db, known or BEFORE_ALL, NOTED_MAX)
        for day in await store.unproved(work.db, OPEN_MAX):
            _add_fill(work, day)


def _add_fill(work: UnitOfWork, day: date) -> None:
    which = day.isoformat()
    work.tasks.add(FILL_TRADES, FillTrades(which), order_no=which, delay_s=SOON_S)


# ------------------------------------------------------------ fetching and proving
async def fill(context: Context, task: Task[FillTrades]) -> None:
    """Bring a day nearer to agreeing with the ledger; it comes again until it does."""
    day = await get(context, date.fromisoformat(task.payload.day))
    if day.status is TradeDayStatus.FILLING:
        try:
            if not await fetch(context, day):
                task.retry_after(0)
                return
        except aio.AioRpcError as error:
            if error.code() is StatusCode.INVALID_ARGUMENT:
                _log.info("trades_refused", day=task.payload.day)
                await begin_again(context, day.day)
                task.retry_after(REFUSED_S, "order refused the day")
            else:
                task.retry_after(AWAY_S, f"order or delivery: {error.code().name}")
            return
    if not await prove(context, day.day):
        task.retry_after(PROVE_AGAIN_S, "trades and ledger are apart")
        return
    async with context.app.work("finance.trades_agree") as work:
        work.tasks.finish(task)


async def fetch(context: Context, day: TradeDay) -> bool:
    """Fetch what is missing; False when there is more. A page and where it ends are one transaction."""
    token = day.page_token
    for _ in range(RUN_MAX):
        found, next_token = await context.order.trades(day.day, token)
        page = await _named(context, found)
        async with context.app.work("finance.trades") as work:
            added = await store.add(work.db, page)
            faults.hit("finance.trades_stored")
            if not await store.reached(
                work.db, day.day, added, from_token=token, to_token=next_token
            ):
                return False
            if not next_token:
                await store.fetched(work.db, day.day)
        if not next_token:
            return True
        token = next_token
    return False


async def _named(context: Context, page: Sequence[Trade]) -> list[Trade]:
    """Trades with what their suppliers know them by, which delivery alone knows."""
    numbers = [one.number for one in page if one.kind in WITH_SUPPLIERS]
    owners = [(one.down_channel_no, one.number) for one in page if one.kind in WITH_SUPPLIERS]
    known = await context.delivery.supplier_numbers(owners) if owners else []
    names = dict(zip(numbers, known, strict=True))
    return [
        replace(one, supplier_no=name.order_no, account=context.accounts.hidden(name.account))
        if (name := names.get(one.number))
        else one
        for one in page
    ]


async def begin_again(context: Context, day: date) -> None:
    """Forget where the order service was to go on: what is here already is passed over."""
    async with context.app.work("finance.trades_again") as work:
        found = await store.get(work.db, day)
        if found is not None and found.page_token:
            await store.reached(work.db, day, 0, from_token=found.page_token, to_token="")


async def prove(context: Context, day: date) -> bool:
    """Whether every trade of a fetched day agrees with the ledger; stored with the day.

    It differs only when the day after is complete as well: what ends before midnight is posted moments later.
    """
    await _list_money(context, day + timedelta(days=1))
    found = await trade_proof.look(context, day)
    async with context.app.work("finance.trades_proved") as work:
        if not found.apart:
            await store.proved(work.db, day, TradeDayEvent.AGREED, 0, "")
            return True
        after = await days.get(work.db, day + timedelta(days=1))
        if after is None or after.status is not DayStatus.COMPLETE:
            await store.looked_at(work.db, day, found.apart, found.what)
            return False
        await store.proved(work.db, day, TradeDayEvent.DIFFERED, found.apart, found.what)
    _log.error("trades_differ", day=str(day), apart=found.apart, what=found.what)
    return False


async def _list_money(context: Context, to_day: date) -> None:
    """List movements of complete days by the numbers of trades; a repeat adds nothing."""
    async with context.app.db.connect() as db:
        unlisted = await store.unlisted(db, to_day, OPEN_MAX)
    for day in unlisted:
        after = 0
        while True:
            async with context.app.db.connect() as db:
                facts = await days.accounts(db, day, after=after, most=PAGE_ROWS)
            if not facts:
                break
            pieces = [
                Piece(day_number(day), one.account_id, one.seq_from - 1, one.seq_to)
                for one in facts
            ]
            for part in in_parts(pieces, LISTED_MAX):
                async with context.app.work("finance.money_listed") as work:
                    await store.list_money(work.db, part)
            after = facts[-1].account_id
        async with context.app.work("finance.money_listed") as work:
            await store.listed(work.db, day)


# ------------------------------------------------------------ showing
async def get(context: Context, day: date) -> TradeDay:
    """One day. Refuses TradeDayNotFound."""
    async with context.app.db.connect() as db:
        found = await store.get(db, day)
    if found is None:
        raise TradeDayNotFound(day.isoformat())
    return found


async def page(context: Context, after: date, most: int) -> list[TradeDay]:
    """Days behind `after`, oldest first."""
    async with context.app.db.connect() as db:
        return await store.page(db, after, most)


async def recheck(context: Context, day: date) -> TradeDay:
    """Fetch and prove a day at once; the day as it was. Refuses TradeDayNotFound."""
    found = await get(context, day)
    if found.status is not TradeDayStatus.AGREES:
        async with context.app.work("finance.recheck_trades") as work:
            _add_fill(work, day)
    return found


async def fetched_day(context: Context, day: date) -> TradeDay:
    """A day whose trades are all here. Refuses TradeDayNotFound, TradeDayIncomplete."""
    found = await get(context, day)
    if found.status is TradeDayStatus.FILLING:
        raise TradeDayIncomplete(day.isoformat())
    return found


async def export(context: Context, day: date, after: int) -> AsyncIterator[list[Trade]]:
    """Trades of a day that is here, behind a number. Refuses TradeDayNotFound, TradeDayIncomplete."""
    await fetched_day(context, day)
    while True:
        async with context.app.db.connect() as db:
            found = await store.trades(db, day, after=after, most=PAGE_ROWS)
        if found:
            yield found
            after = found[-1].number
        if len(found) < PAGE_ROWS:
            return


async def of_channel(
    context: Context, day: date, channel_no: str, *, up: bool
) -> AsyncIterator[list[Trade]]:
    """Trades of a channel or supplier on a day that is here, by end_time and number, page by page."""
    await fetched_day(context, day)
    after = _EPOCH, 0
    while True:
        async with context.app.db.connect() as db:
            found = await store.of_channel(db, day, channel_no, up=up, after=after, most=PAGE_ROWS)
        if found:
            yield found
            after = found[-1].end_time, found[-1].number
        if len(found) < PAGE_ROWS:
            return
