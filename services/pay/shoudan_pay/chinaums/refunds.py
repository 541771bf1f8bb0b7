"""Refunds through ChinaUMS: sent once, queried on the documented schedule, ended once."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import msgspec

from shoudan_kit import log
from shoudan_kit.http.client import HttpClient
from shoudan_kit.service import App
from shoudan_kit.tasks.kinds import Task
from shoudan_pay.chinaums import protocol
from shoudan_pay.chinaums.kinds import ASK_UMS, ASK_UMS_NOW, AskUms
from shoudan_pay.chinaums.protocol import Access, Meaning, UmsAnswer
from shoudan_pay.chinaums.store import refunds
from shoudan_pay.chinaums.store.refunds import UmsRefund
from shoudan_pay.config import PaySettings
from shoudan_pay.credential_kinds import UMS
from shoudan_pay.payserver.components import guard_of
from shoudan_pay.payserver.numbers import PAY
from shoudan_pay.payserver.protocol import AnswerKind, ComponentAnswer
from shoudan_pay.payserver.rules import fen
from shoudan_pay.payserver.settlement import Settlement, other_amount
from shoudan_pay.payserver.store import pays as pay_store
from shoudan_pay.payserver.store.pays import PayOrder
from shoudan_pay.payserver.store.refunds import RefundOrder
from shoudan_pay.platforms.signatures import Signatures
from shoudan_pay.platforms.states import REFUND, REFUND_ENDED, RefundState
from shoudan_pay.platforms.status_map import component_answer
from shoudan_pay.platforms.store import callers

LOCKED_S: Final = 60
STATES: Final = {
    protocol.State.SUCCESS: RefundState.SUCCESS,
    protocol.State.FAIL: RefundState.FAIL,
    protocol.State.PROCESSING: RefundState.PROCESSING,
    protocol.State.UNKNOWN: RefundState.UNKNOWN,
}

_log = log.get_logger("chinaums")


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """The outcome of one call. `sent`: it may have been received, so the next call is a query."""

    state: RefundState
    sent: bool
    wait_s: float = 0


class UmsRefunds:
    """The link `chinaums:` of PayServer, and the task that queries."""

    fields: ClassVar[frozenset[str]] = frozenset({"refund_url", "query_url"})

    def __init__(
        self, app: App[PaySettings], signatures: Signatures, settlement: Settlement
    ) -> None:
        self._app, self._signatures, self._settlement = app, signatures, settlement
        self._http = HttpClient(
            "chinaums",
            guard=guard_of(app.settings),
            total_s=app.settings.component_timeout_s,
            per_host_max=app.settings.platform_calls_max,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def pay(self, pay: PayOrder, account: str) -> ComponentAnswer:
        """Nothing is paid this way: a payUrl cannot name it."""
        return ComponentAnswer(AnswerKind.NOT_SENT, why="no pays through refund-query")

    async def refund(self, refund: RefundOrder, pay: PayOrder, account: str) -> ComponentAnswer:
        """Store the refund with the task that queries it, then send it."""
        async with self._app.work("chinaums_refund") as work:
            app = await callers.app_of(work.db, refund.merchant_uuid, account)
            access = self._access(app)
            if app is None or access is None:
                _log.error("ums_app_missing", traction_no=refund.traction_no)
                return ComponentAnswer(AnswerKind.NOT_SENT, why="no credential")
            row = await refunds.insert(work.db, _row(refund, pay, app.app_id, app.source_id))
            if row is not None:
                number = refund.traction_no
                work.tasks.add(ASK_UMS, AskUms(number), order_no=number, delay_s=self._wait_s(0))
        if row is None:
            return await self.query(refund.traction_no, refund.merchant_uuid, account)
        brought = await self._send(row, access)
        return component_answer(brought.state if brought.sent else RefundState.PROCESSING)

    async def query(self, traction_no: str, merchant_uuid: str, account: str) -> ComponentAnswer:
        """A refund as its task left it; a pay is queried at ChinaUMS."""
        if traction_no.startswith(PAY):
            return await self._query_pay(traction_no, merchant_uuid, account)
        async with self._app.db.connect() as db:
            row = await refunds.by_number(db, traction_no)
        if row is None:
            return ComponentAnswer(AnswerKind.NOT_FOUND)
        if row.status in REFUND_ENDED:
            return component_answer(row.status, row.refund_order_id, _reason(row))
        return ComponentAnswer(AnswerKind.RUNNING)

    async def ask(self, task: Task[AskUms]) -> None:
        """One query, or the call itself when certainly nothing of it was received."""
        number = task.payload.traction_no
        async with self._app.db.connect() as db:
            row = await refunds.by_number(db, number)
            app = await callers.app_by_id(db, row.app_id) if row is not None else None
        access = self._access(app)
        if row is None or row.status in REFUND_ENDED:
            await self._finish(task)
            return
        if access is None:
            task.retry_after(self._wait_s(task.count), "no credential")
            return
        if row.sent:
            brought = await self._question(row, access)
        elif await self._mark_sent(number):
            brought = await self._send(row, access)
        else:
            brought = CallOutcome(RefundState.UNKNOWN, sent=True)
        if brought.state in REFUND_ENDED:
            await self._finish(task)
        else:
            task.retry_after(max(brought.wait_s, self._wait_s(task.count)), row.last_code)

    async def _send(self, row: UmsRefund, access: Access) -> CallOutcome:
        """/refund: the same numbers each time, so that a repeat gives the refund that exists."""
        members = protocol.refund(access, row.mer_order_id, row.refund_order_id, row.refund_fen)
        answer = await self._call(access, protocol.REFUND, members)
        if answer.meaning is Meaning.QUERY_FIRST:
            asked = protocol.asked_about(access, row.mer_order_id)
            await self._call(access, protocol.QUERY, asked)
            answer = await self._call(access, protocol.REFUND, members)
        return await self._written(row, answer, _of_refund(row, answer))

    async def _question(self, row: UmsRefund, access: Access) -> CallOutcome:
        """/refund-query, with the refund's own number."""
        members = protocol.asked_about(access, row.refund_order_id)
        answer = await self._call(access, protocol.REFUND_QUERY, members)
        lost = row.age_s > self._app.settings.ums_lost_s
        return await self._written(row, answer, _of_question(row, answer, lost=lost))

    async def _query_pay(
        self, traction_no: str, merchant_uuid: str, account: str
    ) -> ComponentAnswer:
        async with self._app.db.connect() as db:
            access = self._access(await callers.app_of(db, merchant_uuid, account))
            pay = (await pay_store.by_number(db, [traction_no])).get(traction_no)
        if access is None or pay is None:
            return ComponentAnswer(AnswerKind.UNKNOWN, why="no credential")
        number = _mer_order_id(pay)
        answer = await self._call(access, protocol.QUERY, protocol.asked_about(access, number))
        await self._compare(traction_no, answer, number, "totalAmount", fen(pay.amount_micros))
        if answer.meaning is Meaning.NOT_THERE:
            return ComponentAnswer(AnswerKind.NOT_FOUND)
        if answer.meaning is not Meaning.LOOK or not _agrees(
            answer, number, "totalAmount", fen(pay.amount_micros)
        ):
            return ComponentAnswer(AnswerKind.UNKNOWN, why=answer.code)
        return component_answer(STATES[answer.pay_state], number)

    async def _call(self, access: Access, path: str, members: Mapping[str, Any]) -> UmsAnswer:
        now, nonce = self._app.wall_clock.now(), secrets.token_hex(16)
        answer = await protocol.send(self._http, access, path, members, now, nonce)
        if answer.meaning is Meaning.OUR_FAULT:
            _log.error("ums_refuses_us", path=path, code=answer.code, app_id=access.app_id)
        return answer

    async def _written(
        self, row: UmsRefund, answer: UmsAnswer, brought: CallOutcome
    ) -> CallOutcome:
        """Settle at PayServer first: a process that dies in between queries and settles again."""
        await self._compare(
            row.traction_no, answer, row.refund_order_id, "refundAmount", row.refund_fen
        )
        reason = f"{answer.code} {answer.text}".strip()
        if brought.state in REFUND_ENDED:
            await self._settlement.refund(
                row.traction_no, component_answer(brought.state, row.refund_order_id, reason)
            )
        was = RefundState(row.status)
        status = REFUND.moved(was, brought.state) or was
        shown = ""
        if answer.meaning is Meaning.LOOK:
            shown = msgspec.json.encode(protocol.detail(answer.members)).decode()
        async with self._app.work("chinaums_heard") as work:
            await refunds.advance_refund(
                work.db,
                row.traction_no,
                was,
                status,
                sent=brought.sent,
                last_code=reason[:64],
                detail=shown,
            )
        return brought

    async def _compare(
        self, traction_no: str, answer: UmsAnswer, number: str, name: str, asked_fen: int
    ) -> None:
        """Park a refund or pay that is answered with another amount; nothing ends."""
        there = answer.meaning is Meaning.LOOK and name in answer.members
        if there and _agrees(answer, number) and not _agrees(answer, number, name, asked_fen):
            other = other_amount(name, protocol.fen(answer.members[name]), asked_fen)
            await self._settlement.differs(traction_no, other)

    def _wait_s(self, questions: int) -> float:
        """Seconds before the next question after so many."""
        waits = self._app.settings.ums_waits_s
        return waits[min(questions, len(waits) - 1)]

    async def _mark_sent(self, number: str) -> bool:
        async with self._app.work("chinaums_sent") as work:
            return await refunds.mark_sent(work.db, number)

    async def _finish(self, task: Task[AskUms]) -> None:
        async with self._app.work("chinaums_ask") as work:
            work.tasks.finish(task)
            if task.kind is ASK_UMS_NOW:
                work.tasks.finish_for(ASK_UMS, [task.payload.traction_no])

    def _access(self, app: callers.UmsApp | None) -> Access | None:
        if app is None:
            return None
        keys = self._signatures.keys(UMS, app.app_id, app.secret_name)
        if not keys:
            return None
        return Access(app.app_id, keys[0], app.base_url.rstrip("/"), app.mid, app.tid)


def _row(refund: RefundOrder, pay: PayOrder, app_id: str, source_id: str) -> UmsRefund:
    number = protocol.refund_order_id(source_id, refund.create_time, refund.traction_no)
    return UmsRefund(
        traction_no=refund.traction_no,
        app_id=app_id,
        mer_order_id=_mer_order_id(pay),
        refund_order_id=number,
        refund_fen=fen(refund.amount_micros),
        status=RefundState.UNKNOWN,
        sent=True,
        asked=0,
        last_code="",
        detail="",
        age_s=0,
    )


def _mer_order_id(pay: PayOrder) -> str:
    """ChinaUMS's number of a pay: what its component called thirdOrderNo, else our tractionNo."""
    third = pay.third_pay_no or ""
    fits = protocol.NUMBER_CHARS_MIN <= len(third) <= protocol.NUMBER_CHARS_MAX
    return third if fits and third.isascii() and third.isalnum() else pay.traction_no


def _of_refund(row: UmsRefund, answer: UmsAnswer) -> CallOutcome:
    """What an answer to /refund brought. An explicit no counts only if no earlier call may have arrived."""
    match answer.meaning:
        case Meaning.LOOK if _agrees(answer, row.refund_order_id, "refundAmount", row.refund_fen):
            state = STATES[answer.refund_state]
            return CallOutcome(
                RefundState.PROCESSING if state == RefundState.UNKNOWN else state, True
            )
        case Meaning.REFUSED | Meaning.NOT_THERE if row.asked == 0 or not row.sent:
            return CallOutcome(RefundState.FAIL, sent=True)
        case Meaning.NOTHING_DONE | Meaning.OUR_FAULT | Meaning.QUERY_FIRST:
            return CallOutcome(RefundState.UNKNOWN, sent=False)
        case Meaning.WAIT:
            return CallOutcome(RefundState.UNKNOWN, sent=True, wait_s=LOCKED_S)
        case _:
            return CallOutcome(RefundState.UNKNOWN, sent=True)


def _of_question(row: UmsRefund, answer: UmsAnswer, *, lost: bool) -> CallOutcome:
    """What an answer to /refund-query brought: only refundStatus ends anything."""
    match answer.meaning:
        case Meaning.LOOK if _agrees(answer, row.refund_order_id, "refundAmount", row.refund_fen):
            return CallOutcome(STATES[answer.refund_state], sent=True)
        case Meaning.NOT_THERE if lost:
            return CallOutcome(RefundState.UNKNOWN, sent=False)
        case Meaning.WAIT:
            return CallOutcome(RefundState.UNKNOWN, sent=True, wait_s=LOCKED_S)
        case _:
            return CallOutcome(RefundState.UNKNOWN, sent=True)


def _agrees(answer: UmsAnswer, number: str, name: str = "", fen: int = 0) -> bool:
    """Whether an answer is about this number and, where it names the amount, of that much."""
    if number not in {answer.members.get("refundOrderId"), answer.members.get("merOrderId")}:
        return False
    return name not in answer.members or protocol.fen(answer.members[name]) == fen


def _reason(row: UmsRefund) -> str:
    return row.last_code if row.status == RefundState.FAIL else ""
