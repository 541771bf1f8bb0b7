"""What is had done about exceptions without settling them: the supplier asked, the channel notified again.

The intent is stored with a task, and what became of it is noted about the exception: evidence that stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from grpc import aio

from shoudan.core.v1 import core_pb2
from shoudan_finance import exceptions
from shoudan_finance.context import Context
from shoudan_finance.exceptions import Shown
from shoudan_finance.kinds import INQUIRE, Inquire
from shoudan_finance.refusals import FieldInvalid
from shoudan_finance.states import ExceptionEvent, NoteKind
from shoudan_finance.store import exceptions as store
from shoudan_finance.store import trades
from shoudan_finance.store.exceptions import Noted
from shoudan_finance.store.trades import Trade
from shoudan_kit.rpc.refusal import Refused
from shoudan_kit.tasks.kinds import Task
from shoudan_kit.tasks.unit_of_work import UnitOfWork

SUPPLIER: Final = "supplier"
NOTIFY: Final = "notify"
NOTED: Final = {SUPPLIER: NoteKind.ANSWERED, NOTIFY: NoteKind.COMMENT}
AWAY_S: Final = 30.0
NUMBER_MAX: Final = 2**63


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of an exception elsewhere: its order's life, and its supplier's answers."""

    order_id: int
    moments: Sequence[core_pb2.Moment]
    answers: Sequence[Noted]
    missing: str


# ------------------------------------------------------------ asking for it
async def ask(context: Context, numbers: Sequence[int], words: str, by: str) -> None:
    """Note that the supplier was asked, and ask it about what is a delivery of ours.

    Refuses ExceptionNotFound, ExceptionDecided.
    """
    ours = await trades_of(context, numbers)
    async with context.app.work("finance.ask_supplier") as work:
        await exceptions.locked(work, numbers, ExceptionEvent.ASKED)
        await store.move(work.db, numbers, ExceptionEvent.ASKED)
        await exceptions.noted(context, work, numbers, NoteKind.ASKED, words, by)
        _add(work, [number for number in numbers if number in ours], SUPPLIER, by)


async def resend(context: Context, numbers: Sequence[int], by: str) -> None:
    """Have the channels behind exceptions notified again. Refuses ExceptionNotFound, FieldInvalid."""
    ours = await trades_of(context, numbers)
    async with context.app.work("finance.notify_again") as work:
        await exceptions.locked(work, numbers, None)
        for number in numbers:
            if number not in ours:
                raise FieldInvalid("exception_ids", f"{number} is about no delivery of ours")
        _add(work, numbers, NOTIFY, by)


def _add(work: UnitOfWork, numbers: Sequence[int], what: str, by: str) -> None:
    for number in numbers:
        work.tasks.add(INQUIRE, Inquire(number, what, by), order_no=f"{number}-{what}")


# ------------------------------------------------------------ doing it
async def inquire(context: Context, task: Task[Inquire]) -> None:
    """Do it once, and note what became of it."""
    number, what = task.payload.exception_id, task.payload.what
    trade = (await trades_of(context, [number]))[number]
    try:
        if what == SUPPLIER:
            words = await _answer(context, trade)
        else:
            words = await _notified(context, trade, task.payload.by)
    except Refused as error:
        words = str(error)
    except aio.AioRpcError as error:
        task.retry_after(AWAY_S, f"order or delivery: {error.code().name}")
        return
    async with context.app.work("finance.inquired") as work:
        await exceptions.noted(context, work, [number], NOTED[what], words, task.payload.by)
        work.tasks.finish(task)


async def _answer(context: Context, trade: Trade) -> str:
    said = await context.delivery.supplier_answer(trade.down_channel_no, trade.number)
    words = f"{trade.up_channel_no} says of {said.order_no}: {said.said}, {said.code} {said.desc}"
    return f"{words.strip()}; its number {said.up_order_no or '-'}; here {said.known}"


async def _notified(context: Context, trade: Trade, by: str) -> str:
    behind = await context.order.behind(trade.order_id)
    count = await context.order.resend(behind.notify_ids, by) if behind.notify_ids else 0
    return f"order {trade.order_id} of {behind.channel_no}: {count} notifies are sent again"


# ------------------------------------------------------------ showing
async def evidence(context: Context, number: int) -> Evidence:
    """What is known of an exception elsewhere. Refuses ExceptionNotFound."""
    _, notes = await exceptions.get(context, number)
    trade = (await trades_of(context, [number])).get(number)
    answers = [one for one in notes if one.kind is NoteKind.ANSWERED]
    if trade is None:
        return Evidence(0, (), answers, "")
    try:
        return Evidence(trade.order_id, await context.order.life(trade.order_id), answers, "")
    except (Refused, aio.AioRpcError) as error:
        why = error.reason if isinstance(error, Refused) else error.code().name
        return Evidence(trade.order_id, (), answers, f"order: {why}")


async def trade_of(context: Context, number: int) -> Trade | None:
    """The delivery or return of ours that an exception is about."""
    return (await trades_of(context, [number])).get(number)


async def trades_of(context: Context, numbers: Sequence[int]) -> dict[int, Trade]:
    """The deliveries and returns of ours that exceptions are about, by exception."""
    shown = await exceptions.of_numbers(context, numbers)
    named = {one.row.exception_id: no for one in shown if (no := _trade_no(one))}
    async with context.app.db.connect() as db:
        found = await trades.by_number(db, sorted({*named.values()})) if named else {}
    return {number: found[no] for number, no in named.items() if no in found}


def _trade_no(one: Shown) -> int:
    """Entries of the release before have our own number instead."""
    if one.ours is None:
        return 0
    no = one.ours.our_no
    known = int(no) if no.isascii() and no.isdecimal() else 0
    return one.ours.trade_no or (known if known < NUMBER_MAX else 0)
