"""Pays: intent, ledger and history in one transaction per batch; then, outside of it, the component."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
from shoudan_pay.payserver.kinds import ASK_PAY
from shoudan_pay.payserver.refusals import ModeNotOpen, PayDiffers, PayNotWritten
from shoudan_pay.payserver.rules import Method, PayAsked
from shoudan_pay.payserver.settlement import Settlement, settle_pays
from shoudan_pay.payserver.states import Event, PayStatus, Sent
from shoudan_pay.payserver.store import modes as mode_store
from shoudan_pay.payserver.store import pays as store
from shoudan_pay.payserver.store.modes import Terms, Usable
from shoudan_pay.payserver.store.pays import NewPay, PayOrder

_log = log.get_logger("payserver")


@dataclass(frozen=True, slots=True)
class PayRequest:
    """One pay of one caller."""

    merchant_uuid: str
    asked: PayAsked


@dataclass(frozen=True, slots=True)
class Paid:
    """A stored pay. `repeated`: it had ended before this call."""

    pay: PayOrder
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Offline:
    """Its mode is offline: nothing is stored."""


Answer = Paid | Offline | Refusal

OWN: Final[OrderKind[PayOrder]] = OrderKind(
    batches="pays",
    looks="pays_seen",
    transaction="payserver_pay",
    unknown="pay_unknown",
    task=ASK_PAY,
    asked=PayStatus.PAYING,
    asked_time=lambda pay: pay.pay_start_time,
    by_number=store.by_number,
    mark_sent=store.mark_sent,
    told_fen=lambda heard: heard.pay_fen,
)


class Pays(Acceptance[PayRequest, Answer, PayOrder]):
    """Where all pays of this process meet."""

    def __init__(
        self, app: App[PaySettings], components: Components, settlement: Settlement
    ) -> None:
        super().__init__(app, OWN, settlement.pay, settlement.differs)
        self._components, self._history = components, settlement.history
        self._numbers = numbers.Numbers(app.clock.now)
        self._ring = ring_of(app.settings)

    async def pay(self, requests: Sequence[PayRequest], wait_s: float) -> list[Answer]:
        """One answer per wish, in order; components get `wait_s` to end theirs, then they stay paying."""
        until = asyncio.get_running_loop().time() + wait_s
        answers = await self._gather(requests)
        ended = await self._ended([one.pay for one in answers if isinstance(one, Paid)], until)
        return [_latest(one, ended) for one in answers]

    async def _write(
        self, work: UnitOfWork, requests: Sequence[PayRequest]
    ) -> tuple[list[Answer], list[Call[PayOrder]]]:
        batch = _Batch(work, self._history, self._numbers, self._components, self._ring)
        return await batch.accept(requests), batch.to_ask

    def _not_written(self, request: PayRequest, trace: str) -> Answer:
        number = request.asked.client_pay_no
        _log.error("pay_failed", trace=trace, client_pay_no=number, exc_info=True)
        return PayNotWritten(trace)


class _Batch:
    """One transaction's worth of pays."""

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
        self._usable: dict[str, Usable] = {}
        self._known: dict[tuple[str, str], PayOrder] = {}
        self._new: dict[tuple[str, str], NewPay] = {}
        self.to_ask: list[Call[PayOrder]] = []

    async def accept(self, requests: Sequence[PayRequest]) -> list[Answer]:
        """Judge, write, move money, tell; one answer per wish."""
        db = self._work.db
        self._usable = await mode_store.usable(
            db, {request.asked.mode_uuid for request in requests}
        )
        keys = {key for request in requests if (key := self._key(request)) is not None}
        self._known = await store.by_client_no(db, keys)
        judged = [self._judge(request) for request in requests]
        written = await self._write()
        ended = await self._take(written.values())
        self.to_ask = [
            Call(pay, partial(self._components.pay, pay, self._usable[pay.mode_uuid]))
            for pay in written.values()
            if pay.status == PayStatus.PAYING
        ]
        return [self._answer(one, written, ended) for one in judged]

    def _key(self, request: PayRequest) -> tuple[str, str] | None:
        """What a repeat is recognised by: the mode's merchant and the client's number."""
        found = self._usable.get(request.asked.mode_uuid)
        if found is None or request.merchant_uuid not in {"", found.mode.merchant_uuid}:
            return None
        return found.mode.merchant_uuid, request.asked.client_pay_no

    def _judge(self, request: PayRequest) -> Answer | tuple[str, str]:
        """An answer, or the key of a pay this batch writes."""
        asked, key = request.asked, self._key(request)
        if key is None:
            return ModeNotOpen(asked.mode_uuid)
        if (known := self._known.get(key)) is not None:
            return _repeat(known, asked.content_hash)
        if (twin := self._new.get(key)) is not None:
            return key if twin.content_hash == asked.content_hash else PayDiffers(key[1])
        found = self._usable[asked.mode_uuid]
        try:
            method = rules.method_of(found, request.merchant_uuid, asked.mode_uuid)
            if method is None:
                return Offline()
            rules.check_params(method, found, asked.params)
        except Refusal as refusal:
            return refusal
        self._new[key] = self._made(asked, found, method)
        return key

    def _made(self, asked: PayAsked, found: Usable, method: Method) -> NewPay:
        mode, terms = found.mode, found.terms
        later = method is Method.COMPONENT and terms.async_notify
        status, now = PayStatus.UNPAY, self._call_now(method, terms)
        if method is Method.COMPONENT:
            status = states.PAY.next(status, Event.ASKED)
        return NewPay(
            uuid=numbers.new_uuid(),
            merchant_uuid=mode.merchant_uuid,
            client_pay_no=asked.client_pay_no,
            content_hash=asked.content_hash,
            traction_no=self._numbers.take(numbers.PAY, 1)[0],
            mode_uuid=mode.uuid,
            template_id=mode.template_id,
            mode_name=mode.terms.name,
            channel=terms.channel or None,
            way=terms.way or None,
            method=method,
            async_notify=later,
            payer=asked.payer,
            payee=asked.payee,
            amount_micros=asked.amount_micros,
            params=asked.params,
            extra_params=asked.extra_params,
            status=status,
            sent=Sent.MAYBE if now else Sent.NOT,
            valid_h=terms.valid_h,
        )

    def _call_now(self, method: Method, terms: Terms) -> bool:
        """Whether its component is called right after the commit; otherwise the task does it."""
        if method is not Method.COMPONENT or terms.async_notify:
            return False
        self._calls += 1
        return self._components.has_room(terms.pay_url, self._calls)

    async def _write(self) -> dict[tuple[str, str], PayOrder]:
        """Write what is new; numbers that another transaction has just taken become known."""
        if not self._new:
            return {}
        written = await store.insert(self._work.db, list(self._new.values()))
        if lost := [key for key in self._new if key not in written]:
            self._known |= await store.by_client_no(self._work.db, lost)
        await self._history.pays_changed(self._work, written.values())
        return written

    async def _take(self, written: Iterable[PayOrder]) -> dict[str, PayOrder]:
        """Move the ledger for the built-in modes and end their pays."""
        mine = [pay for pay in written if pay.method != Method.COMPONENT]
        if not mine:
            return {}
        said = await ledger_moves.take(self._work, mine, self._ring)
        ended = await settle_pays(self._work, self._history, said)
        return {one.traction_no: one for one in ended if isinstance(one, PayOrder)}

    def _answer(
        self,
        judged: Answer | tuple[str, str],
        written: dict[tuple[str, str], PayOrder],
        ended: dict[str, PayOrder],
    ) -> Answer:
        if not isinstance(judged, tuple):
            return judged
        pay = written.get(judged)
        if pay is None:  # another transaction was quicker
            return _repeat(self._known[judged], self._new[judged].content_hash)
        return Paid(ended.get(pay.traction_no, pay))


def _repeat(known: PayOrder, content_hash: bytes) -> Answer:
    """What a pay is answered whose number came before."""
    if known.content_hash != content_hash:
        return PayDiffers(known.client_pay_no)
    return Paid(known, repeated=PayStatus(known.status) not in states.OPEN_PAYS)


def _latest(answer: Answer, ended: Mapping[str, PayOrder]) -> Answer:
    """The pay as its component's call left it, if that has ended."""
    if not isinstance(answer, Paid):
        return answer
    return Paid(ended.get(answer.pay.traction_no, answer.pay), answer.repeated)
