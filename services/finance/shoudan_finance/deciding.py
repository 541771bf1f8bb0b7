"""Decisions about exceptions: made by two persons in one transaction, booked to the ledger behind it.

The intent is stored before the ledger is called, and the posting has a trade number of the exception's own:
whatever dies, it is made once. One that the ledger refuses opens the exception again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from grpc import aio

from shoudan.finance.v1 import exception_service_pb2 as pb
from shoudan_finance import exceptions, inquiring
from shoudan_finance.context import Context
from shoudan_finance.exceptions import Shown
from shoudan_finance.kinds import BOOK_EXCEPTION, BookException
from shoudan_finance.pay_client import Flat
from shoudan_finance.refusals import (
    ExceptionDecided,
    ExceptionNotFound,
    FieldInvalid,
    FinanceRefusal,
)
from shoudan_finance.states import (
    EXCEPTION,
    Decision,
    ExceptionEvent,
    ExceptionKind,
    ExceptionStatus,
    NoteKind,
)
from shoudan_finance.store import exceptions as store
from shoudan_finance.store.exceptions import Decided, Row
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.proposals.kinds import Applied, Effect, Kind
from shoudan_kit.rpc.refusal import Refused
from shoudan_kit.tasks.kinds import Task
from shoudan_kit.tasks.unit_of_work import UnitOfWork

METHOD: Final = "shoudan.finance.v1.ExceptionService/DecideExceptions"
REMARK_MAX: Final = 256
AWAY_S: Final = 30.0
DELIVERY: Final = 3  # trade.kind
# To which account of the source each decision moves the difference.
GROUPS: Final = {
    Decision.BOOK: "suspense",
    Decision.WRITE_OFF: "write_off",
    Decision.ADJUST_COST: "up_channel",
    Decision.REFUND: "up_channel",
}
WORDS: Final = {
    ExceptionKind.LONG: "长款",
    ExceptionKind.SHORT: "短款",
    ExceptionKind.AMOUNT: "金额不符",
    ExceptionKind.STATUS: "状态不符",
    ExceptionKind.SETTLEMENT: "结算不符",
}


def kind(context: Context) -> Kind:
    """DecideExceptions as a call of two persons."""

    async def apply(work: UnitOfWork, request: pb.DecideExceptionsRequest) -> Applied:
        return await decide_in(context, work, request)

    return Kind(METHOD, pb.DecideExceptionsRequest, lambda _: None, apply)


async def decide(context: Context, request: pb.DecideExceptionsRequest) -> int:
    """Decide about exceptions, all or none; how many. Refuses as `decide_in` does, but for a repeat."""
    try:
        async with context.app.work("finance.decide") as work:
            await decide_in(context, work, request)
    except ExceptionDecided:
        if not await _stand_so(context, request):
            raise
    return len(request.items)


async def _stand_so(context: Context, request: pb.DecideExceptionsRequest) -> bool:
    """Whether this person has decided all of it so, and it is booked or being booked."""
    asked = {one.exception_id: (one.decision, one.remark, request.by) for one in request.items}
    return asked == {
        one.row.exception_id: (one.row.decision, one.row.remark, one.row.decided_by)
        for one in await exceptions.of_numbers(context, list(asked))
        if one.row.status in {ExceptionStatus.BOOKING, ExceptionStatus.SETTLED}
    }


async def decide_in(
    context: Context, work: UnitOfWork, request: pb.DecideExceptionsRequest
) -> Applied:
    """Decide inside a transaction. Refuses FieldInvalid, ExceptionNotFound, ExceptionDecided."""
    decided = [_decided(one) for one in request.items]
    numbers = exceptions.checked([one.exception_id for one in decided])
    if unfit := await _unfit(context, decided):
        raise next(iter(unfit.values()))
    await store.lock_entries(work.db, numbers)
    rows = await exceptions.locked(work, numbers, ExceptionEvent.DECIDED)
    entries = [number for row in rows for number in (row.ours_id, row.theirs_id)]
    await store.decide(work.db, decided, entries, request.by)
    words: dict[int, str] = {}
    for one, row in zip(decided, rows, strict=True):
        amount = micros_to_yuan(row.diff_micros)
        words[row.exception_id] = f"{one.decision.name.lower()} {amount} 元: {one.remark}"
        payload = BookException(row.exception_id)
        work.tasks.add(BOOK_EXCEPTION, payload, order_no=str(row.exception_id))
    await exceptions.noted_each(context, work, words, NoteKind.DECIDED, request.by)
    effects = [_effect(context, one, row) for one, row in zip(decided, rows, strict=True)]
    more = f", and {len(rows) - 1} more" if rows[1:] else ""
    subject = f"decide exception {rows[0].exception_id} of {rows[0].source}{more}"
    return Applied(effects, subject, sum(abs(row.diff_micros) for row in rows))


async def _unfit(context: Context, decided: Sequence[Decided]) -> dict[int, FieldInvalid]:
    """Which exceptions no person can decide so: a cost is a supplier's, and a refund needs a
    delivery of ours that succeeded, which names the order and how many units."""
    found: dict[int, FieldInvalid] = {}
    costs = [one.exception_id for one in decided if one.decision is Decision.ADJUST_COST]
    for one in await exceptions.of_numbers(context, costs) if costs else ():
        if one.of_pays:
            number = one.row.exception_id
            why = f"exception {number} is about no supplier's cost"
            found[number] = FieldInvalid("decision", why)
    refunds = [one.exception_id for one in decided if one.decision is Decision.REFUND]
    known = await inquiring.trades_of(context, refunds) if refunds else {}
    for number in refunds:
        trade = known.get(number)
        if trade is None or trade.kind != DELIVERY or trade.result:
            why = f"exception {number} is about no delivery to refund"
            found[number] = FieldInvalid("decision", why)
    return found


# ------------------------------------------------------------ looking before
@dataclass(frozen=True, slots=True)
class Checked:
    """What a decision about an exception would come to: a posting, or a refusal."""

    exception_id: int
    shown: Shown | None
    account: str
    refunds: bool
    refusal: FinanceRefusal | None

    @property
    def amount_micros(self) -> int:
        """What would be posted."""
        return 0 if self.shown is None else self.shown.row.diff_micros


async def check(
    context: Context, items: Sequence[pb.DecideExceptionsRequest.Item]
) -> list[Checked]:
    """What decisions would come to, in the order asked; nothing is decided. Refuses FieldInvalid."""
    numbers = exceptions.checked([one.exception_id for one in items])
    shown = {one.row.exception_id: one for one in await exceptions.of_numbers(context, numbers)}
    wrong, decided = dict[int, FinanceRefusal](), list[Decided]()
    for one in items:
        try:
            decided.append(_decided(one))
        except FieldInvalid as refusal:
            wrong[one.exception_id] = refusal
    there = [one for one in decided if one.exception_id in shown]
    wrong |= await _unfit(context, there)
    return [_checked(context, one, shown.get(one.exception_id), wrong) for one in items]


def _checked(
    context: Context,
    one: pb.DecideExceptionsRequest.Item,
    shown: Shown | None,
    wrong: Mapping[int, FinanceRefusal],
) -> Checked:
    number = one.exception_id
    refusal = wrong.get(number)
    if shown is None:
        refusal = ExceptionNotFound(number)
    elif not EXCEPTION.allows(shown.row.status, ExceptionEvent.DECIDED):
        refusal = ExceptionDecided(number, shown.row.status.name.lower())
    if shown is None or refusal is not None:
        return Checked(number, shown, "", False, refusal)
    decision = Decision(one.decision)
    account = _account(context, decision, shown.row)
    return Checked(number, shown, account, decision is Decision.REFUND, None)


def _account(context: Context, decision: Decision, row: Row) -> str:
    return "/".join((context.app.settings.exception_ident, GROUPS[decision], row.source))


def _decided(one: pb.DecideExceptionsRequest.Item) -> Decided:
    if one.decision not in {int(known) for known in GROUPS}:
        raise FieldInvalid("decision", "is no decision")
    if len(one.remark) > REMARK_MAX or not one.remark.isprintable():
        raise FieldInvalid("remark", f"has more than {REMARK_MAX} printable characters")
    if one.decision == Decision.REFUND and not one.remark.strip():
        raise FieldInvalid("remark", "says why an order's money goes back")
    return Decided(one.exception_id, Decision(one.decision), one.remark)


def _effect(context: Context, one: Decided, row: Row) -> Effect:
    owner = _account(context, one.decision, row)
    what = f"exception {row.exception_id} {WORDS[row.kind]} of {row.source}"
    after = f"{micros_to_yuan(row.diff_micros)} 元 to {owner}"
    if one.decision is Decision.REFUND:
        after = f"its order's money back (EX{row.exception_id}), {after}"
    return Effect(what, row.status.name.lower(), after)


# ------------------------------------------------------------ booking
async def book(context: Context, task: Task[BookException]) -> None:
    """Make the posting of a decision, once."""
    number = task.payload.exception_id
    async with context.app.db.connect() as db:
        row = await store.get(db, number)
    if row is None or row.status is not ExceptionStatus.BOOKING:
        async with context.app.work("finance.was_booked") as work:
            work.tasks.finish(task)
        return
    record_id, refund_id, refusal = 0, 0, ""
    try:
        if row.decision is Decision.REFUND:
            refund_id = await _refund(context, row)
        if row.diff_micros:
            record_id = await context.pay.post_flat(_flat(context, row))
    except Refused as error:
        # Money that has gone back stays there: the posting is tried until it is made.
        if refund_id:
            task.retry_after(AWAY_S, f"refunded, and pay refuses: {error.reason}")
            return
        refusal = str(error)
    except aio.AioRpcError as error:
        task.retry_after(AWAY_S, f"pay or order: {error.code().name}")
        return
    async with context.app.work("finance.booked") as work:
        if refund_id:
            words = f"refund {refund_id}, EX{number}"
            await exceptions.noted(context, work, [number], NoteKind.BOOKED, words, "")
        await _booked(context, work, row, record_id, refusal)
        work.tasks.finish(task)


async def _booked(
    context: Context, work: UnitOfWork, row: Row, record_id: int, refusal: str
) -> None:
    number = row.exception_id
    if refusal:
        await store.lock_entries(work.db, [number])
        if await store.refused(work.db, number, (row.ours_id, row.theirs_id)):
            await exceptions.noted(context, work, [number], NoteKind.REFUSED, refusal[:1024], "")
    elif await store.booked(work.db, number, record_id):
        words = f"ledger record {record_id}" if record_id else "nothing to book"
        await exceptions.noted(context, work, [number], NoteKind.BOOKED, words, "")


async def _refund(context: Context, row: Row) -> int:
    """Give the units of the delivery back to the channel; made once, as the exception is its number."""
    trade = await inquiring.trade_of(context, row.exception_id)
    assert trade is not None, "looked at before it was decided, and facts stay"
    behind = await context.order.behind(trade.order_id)
    return await context.order.refund(
        behind, f"EX{row.exception_id}", trade.num, row.remark.strip()
    )


def _flat(context: Context, row: Row) -> Flat:
    return Flat(
        ident=context.app.settings.exception_ident,
        groups=GROUPS[row.decision],
        eid=row.source,
        trade_no=f"EX{row.exception_id}",
        amount_micros=row.diff_micros,
        memo=f"exception {row.exception_id} {WORDS[row.kind]}: {row.remark}",
    )
