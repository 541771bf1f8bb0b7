"""Refunds: judged and written in batches under the lock of their pay orders; then the component."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import TypeAlias

from shoudan_kit.rpc.refusal import Refusal
from shoudan_kit.service import App
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_pay.config import PaySettings
from shoudan_pay.payserver import acceptance, ledger_moves, numbers, rules, states
from shoudan_pay.payserver.acceptance import Acceptance, Batch, Call, Offline, Request, Stored
from shoudan_pay.payserver.components import Components
from shoudan_pay.payserver.refusals import PayNotFound, PayRefundDiffers, PayUrlEmpty
from shoudan_pay.payserver.rules import Method, RefundAsked
from shoudan_pay.payserver.settlement import REFUNDS, Settlement, settle_refunds
from shoudan_pay.payserver.states import Event, RefundStatus
from shoudan_pay.payserver.store import modes as mode_store
from shoudan_pay.payserver.store import pays as pay_store
from shoudan_pay.payserver.store import refunds as store
from shoudan_pay.payserver.store.modes import Usable
from shoudan_pay.payserver.store.pays import PayOrder
from shoudan_pay.payserver.store.refunds import RefundOrder

Answer: TypeAlias = acceptance.Answer[RefundOrder]


class Refunds(Acceptance[RefundAsked, RefundOrder]):
    """Where all refunds of this process meet."""

    def __init__(
        self, app: App[PaySettings], components: Components, settlement: Settlement
    ) -> None:
        super().__init__(app, REFUNDS, components, settlement)

    def _batch(self, work: UnitOfWork) -> Batch[RefundAsked, RefundOrder]:
        return _Batch(work, self)


class _Batch(Batch[RefundAsked, RefundOrder]):
    """One transaction's worth of refunds."""

    def __init__(self, work: UnitOfWork, refunds: Refunds) -> None:
        super().__init__(work, refunds)
        self._pays: dict[str, PayOrder] = {}
        self._known: dict[tuple[str, str], RefundOrder] = {}
        self._usable: dict[str, Usable] = {}
        self._taken: dict[int, int] = {}
        self._new: dict[str, RefundOrder] = {}

    async def accept(self, requests: Sequence[Request[RefundAsked]]) -> list[Answer]:
        """Lock the pay orders, judge, write and move money."""
        now = await self._read(requests)
        judged = [self._judge(request, now) for request in requests]
        written: dict[str, RefundOrder] = {}
        if self._new:
            written = await store.insert(self._work.db, list(self._new.values()))
            await self._history.changed(self._work, written.values())
        written |= await self._give_back(written)
        self.calls = [
            self._call(one) for one in written.values() if one.status == RefundStatus.REFUNDING
        ]
        return [one if not isinstance(one, str) else Stored(written[one]) for one in judged]

    async def _read(self, requests: Sequence[Request[RefundAsked]]) -> datetime | None:
        """Read what the judgement needs; the pay orders stay locked, so their refunds cannot change."""
        db = self._work.db
        wanted = {request.asked.pay_traction_no for request in requests}
        self._pays, now = await pay_store.lock(db, wanted)
        keys = {
            (pay.merchant_uuid, request.asked.client_no)
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

    def _pay(self, request: Request[RefundAsked]) -> PayOrder | None:
        pay = self._pays.get(request.asked.pay_traction_no)
        if pay is None or request.merchant_uuid not in {"", pay.merchant_uuid}:
            return None
        return pay

    def _judge(self, request: Request[RefundAsked], now: datetime | None) -> Answer | str:
        """An answer, or the number of a refund this batch writes."""
        asked, pay = request.asked, self._pay(request)
        if pay is None or now is None:
            return PayNotFound(asked.pay_traction_no)
        key = pay.merchant_uuid, asked.client_no
        if (known := self._known.get(key)) is not None:
            if known.content_hash != asked.content_hash:
                return PayRefundDiffers(asked.client_no)
            if known.traction_no in self._new:
                return known.traction_no
            return Stored(known, repeated=known.status not in states.OPEN_REFUNDS)
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
        terms, method = self._usable[pay.mode_uuid].terms, Method(pay.method)
        if not terms.online:
            return None
        amount = rules.judge_refund(asked, pay, self._taken.get(pay.id, 0), now)
        component = method is Method.COMPONENT
        if component and not terms.refund_url:
            raise PayUrlEmpty("refundUrl")
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
            client_refund_no=asked.client_no,
            content_hash=asked.content_hash,
            traction_no=self._numbers.take(numbers.REFUND, 1)[0],
            method=method,
            async_notify=component and terms.async_notify,
            cancel=asked.cancel,
            amount_micros=amount,
            extra_params=asked.extra_params,
            status=status,
            sent=self._first_sent(method, terms, terms.refund_url),
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
        results = await ledger_moves.give_back(self._work, mine, self._stamp)
        ended = await settle_refunds(self._work, self._history, results)
        return {one.traction_no: one for one in ended}

    def _call(self, refund: RefundOrder) -> Call[RefundOrder]:
        pay, usable = self._pays[refund.pay_traction_no], self._usable[refund.mode_uuid]
        return Call(refund, partial(self._components.refund, refund, pay, usable))
