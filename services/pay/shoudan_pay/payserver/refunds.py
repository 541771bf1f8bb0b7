"""Refunds: judged and written in batches under the lock of their pay orders; then the component."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from shoudan_kit import log
from shoudan_kit.rpc.refusal import Refusal
from shoudan_kit.service import App
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger.chain_hash import Ring, ring_of
from shoudan_pay.payserver import ledger_moves, numbers, rules, states
from shoudan_pay.payserver.acceptance import Acceptance, Call, OrderKind
from shoudan_pay.payserver.components import Components
from shoudan_pay.payserver.history import History
from shoudan_pay.payserver.kinds import ASK_REFUND
from shoudan_pay.payserver.refusals import PayNotFound, PayNotWritten, PayUrlEmpty, RefundDiffers
from shoudan_pay.payserver.rules import Method, RefundAsked
from shoudan_pay.payserver.settlement import Settlement, settle_refunds
from shoudan_pay.payserver.states import Event, RefundStatus, Sent
from shoudan_pay.payserver.store import modes as mode_store
from shoudan_pay.payserver.store import pays as pay_store
from shoudan_pay.payserver.store import refunds as store
from shoudan_pay.payserver.store.modes import Usable
from shoudan_pay.payserver.store.pays import PayOrder
from shoudan_pay.payserver.store.refunds import RefundOrder

_log = log.get_logger("payserver")


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """One refund of one caller."""

    merchant_uuid: str
    asked: RefundAsked


@dataclass(frozen=True, slots=True)
class Refunded:
    """A stored refund. `repeated`: it had ended before this call."""

    refund: RefundOrder
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Offline:
    """Its mode is offline: nothing is stored."""


Answer = Refunded | Offline | Refusal

OWN: Final[OrderKind[RefundOrder]] = OrderKind(
    batches="pay_refunds",
    looks="refunds_seen",
    transaction="payserver_refund",
    unknown="refund_unknown",
    task=ASK_REFUND,
    asked=RefundStatus.REFUNDING,
    asked_time=lambda refund: refund.start_time,
    by_number=store.by_number,
    mark_sent=store.mark_sent,
    told_fen=lambda heard: heard.refund_fen,
)


class Refunds(Acceptance[RefundRequest, Answer, RefundOrder]):
    """Where all refunds of this process meet."""

    def __init__(
        self, app: App[PaySettings], components: Components, settlement: Settlement
    ) -> None:
        super().__init__(app, OWN, settlement.refund, settlement.differs)
        self._components, self._history = components, settlement.history
        self._numbers = numbers.Numbers(app.clock.now)
        self._ring = ring_of(app.settings)

    async def refund(self, requests: Sequence[RefundRequest], wait_s: float) -> list[Answer]:
        """One answer per wish, in order; components get `wait_s`, then refunds stay refunding."""
        until = asyncio.get_running_loop().time() + wait_s
        answers = await self._gather(requests)
        given = [one.refund for one in answers if isinstance(one, Refunded)]
        ended = await self._ended(given, until)
        return [_latest(one, ended) for one in answers]

    async def _write(
        self, work: UnitOfWork, requests: Sequence[RefundRequest]
    ) -> tuple[list[Answer], list[Call[RefundOrder]]]:
        batch = _Batch(work, self._history, self._numbers, self._components, self._ring)
        return await batch.accept(requests), batch.to_ask

    def _not_written(self, request: RefundRequest, trace: str) -> Answer:
        number = request.asked.client_refund_no
        _log.error("refund_failed", trace=trace, client_refund_no=number, exc_info=True)
        return PayNotWritten(trace)


class _Batch:
    """One transaction's worth of refunds."""

    def __init__(
        self,
        work: UnitOfWork,
        history: History,
        made: numbers.Numbers,
        components: Components,
        ring: Ring,
    ) -> None:
        self._work, self._history = work, history
        self._numbers, self._components, self._ring = made, components, ring
        self._calls = 0
        self._pays: dict[str, PayOrder] = {}
        self._known: dict[tuple[str, str], RefundOrder] = {}
        self._usable: dict[str, Usable] = {}
        self._taken: dict[int, int] = {}
        self._new: dict[str, RefundOrder] = {}
        self.to_ask: list[Call[RefundOrder]] = []

    async def accept(self, requests: Sequence[RefundRequest]) -> list[Answer]:
        """Lock the pay orders, judge, write, move money, tell; one answer per wish."""
        now = await self._read(requests)
        judged = [self._judge(request, now) for request in requests]
        written: dict[str, RefundOrder] = {}
        if self._new:
            written = await store.insert(self._work.db, list(self._new.values()))
            await self._history.refunds_changed(self._work, written.values())
        written |= await self._give_back(written)
        self.to_ask = [
            self._call(one) for one in written.values() if one.status == RefundStatus.REFUNDING
        ]
        return [one if not isinstance(one, str) else Refunded(written[one]) for one in judged]

    async def _read(self, requests: Sequence[RefundRequest]) -> datetime | None:
        """Everything the judgement needs; the pay orders stay locked, so nobody can add to it."""
        db = self._work.db
        wanted = {request.asked.pay_traction_no for request in requests}
        self._pays, now = await pay_store.lock(db, wanted)
        keys = {
            (pay.merchant_uuid, request.asked.client_refund_no)
            for request in requests
            if (pay := self._pay(request)) is not None
        }
        if not keys:
            return now
        self._known = await store.by_client_no(db, keys)
        self._taken = await store.given(db, {pay.id for pay in self._pays.values()})
        modes = {pay.mode_uuid for pay in self._pays.values()}
        self._usable = await mode_store.usable(db, modes)
        return now

    def _pay(self, request: RefundRequest) -> PayOrder | None:
        pay = self._pays.get(request.asked.pay_traction_no)
        if pay is None or request.merchant_uuid not in {"", pay.merchant_uuid}:
            return None
        return pay

    def _judge(self, request: RefundRequest, now: datetime | None) -> Answer | str:
        """An answer, or the number of a refund this batch writes."""
        asked, pay = request.asked, self._pay(request)
        if pay is None or now is None:
            return PayNotFound(asked.pay_traction_no)
        key = pay.merchant_uuid, asked.client_refund_no
        if (known := self._known.get(key)) is not None:
            if known.content_hash != asked.content_hash:
                return RefundDiffers(asked.client_refund_no)
            if known.traction_no in self._new:
                return known.traction_no
            return Refunded(known, repeated=RefundStatus(known.status) not in states.OPEN_REFUNDS)
        try:
            made = self._made(asked, pay, now)
        except Refusal as refusal:
            return refusal
        if made is None:
            return Offline()
        self._known[key] = self._new[made.traction_no] = made
        self._taken[pay.id] = self._taken.get(pay.id, 0) + made.amount_micros
        return made.traction_no

    def _made(self, asked: RefundAsked, pay: PayOrder, now: datetime) -> RefundOrder | None:
        """The refund to write; None when its mode has gone offline since."""
        usable = self._usable[pay.mode_uuid]
        if not usable.terms.online:
            return None
        amount = rules.judge_refund(asked, pay, self._taken.get(pay.id, 0), now)
        component = pay.method == Method.COMPONENT
        if component and not usable.terms.refund_url:
            raise PayUrlEmpty("refundUrl")
        later = component and usable.terms.async_notify
        now_called = component and not later
        if now_called:
            self._calls += 1
            now_called = self._components.has_room(usable.terms.refund_url, self._calls)
        status = RefundStatus.UN_REFUND
        if component:
            status = states.REFUND.next(status, Event.ASKED)
        return RefundOrder(
            id=0,
            uuid=numbers.new_uuid(),
            pay_id=pay.id,
            pay_uuid=pay.uuid,
            pay_traction_no=pay.traction_no,
            merchant_uuid=pay.merchant_uuid,
            mode_uuid=pay.mode_uuid,
            template_id=pay.template_id,
            client_refund_no=asked.client_refund_no,
            content_hash=asked.content_hash,
            traction_no=self._numbers.take(numbers.REFUND, 1)[0],
            method=pay.method,
            async_notify=later,
            cancel=asked.cancel,
            amount_micros=amount,
            extra_params=asked.extra_params,
            status=status,
            sent=Sent.MAYBE if now_called else Sent.NOT,
            parked=False,
            third_refund_no=None,
            result_code=None,
            start_time=now,
            finish_time=None,
            create_time=now,
            modify_time=now,
        )

    async def _give_back(self, written: dict[str, RefundOrder]) -> dict[str, RefundOrder]:
        """Move the ledger for the built-in modes and end their refunds."""
        mine = [
            (one, self._pays[one.pay_traction_no])
            for one in written.values()
            if one.method != Method.COMPONENT
        ]
        if not mine:
            return {}
        said = await ledger_moves.give_back(self._work, mine, self._ring)
        ended = await settle_refunds(self._work, self._history, said)
        return {one.traction_no: one for one in ended if isinstance(one, RefundOrder)}

    def _call(self, refund: RefundOrder) -> Call[RefundOrder]:
        pay, usable = self._pays[refund.pay_traction_no], self._usable[refund.mode_uuid]
        return Call(refund, partial(self._components.refund, refund, pay, usable))


def _latest(answer: Answer, ended: Mapping[str, RefundOrder]) -> Answer:
    """The refund as its component's call left it, if that has ended."""
    if not isinstance(answer, Refunded):
        return answer
    return Refunded(ended.get(answer.refund.traction_no, answer.refund), answer.repeated)
