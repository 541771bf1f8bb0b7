"""Pays: intent, ledger and history in one transaction per batch; then, outside of it, the component."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TypeAlias

from shoudan_kit.rpc.refusal import Refusal
from shoudan_kit.service import App
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_pay.config import PaySettings
from shoudan_pay.payserver import acceptance, ledger_moves, numbers, rules, states
from shoudan_pay.payserver.acceptance import Acceptance, Batch, Call, Offline, Request, Stored
from shoudan_pay.payserver.components import Components
from shoudan_pay.payserver.refusals import ModeNotOpen, PayDiffers
from shoudan_pay.payserver.rules import Method, PayAsked
from shoudan_pay.payserver.settlement import PAYS, Settlement, settle_pays
from shoudan_pay.payserver.states import Event, PayStatus
from shoudan_pay.payserver.store import modes as mode_store
from shoudan_pay.payserver.store import pays as store
from shoudan_pay.payserver.store.modes import Usable
from shoudan_pay.payserver.store.pays import NewPay, PayOrder

Answer: TypeAlias = acceptance.Answer[PayOrder]
Key: TypeAlias = tuple[str, str]


class Pays(Acceptance[PayAsked, PayOrder]):
    """Where all pays of this process meet."""

    def __init__(
        self, app: App[PaySettings], components: Components, settlement: Settlement
    ) -> None:
        super().__init__(app, PAYS, components, settlement)

    def _batch(self, work: UnitOfWork) -> Batch[PayAsked, PayOrder]:
        return _Batch(work, self)


class _Batch(Batch[PayAsked, PayOrder]):
    """One transaction's worth of pays."""

    def __init__(self, work: UnitOfWork, pays: Pays) -> None:
        super().__init__(work, pays)
        self._usable: dict[str, Usable] = {}
        self._known: dict[Key, PayOrder] = {}
        self._new: dict[Key, NewPay] = {}

    async def accept(self, requests: Sequence[Request[PayAsked]]) -> list[Answer]:
        """Judge, write and move money."""
        db = self._work.db
        self._usable = await mode_store.usable(
            db, {request.asked.mode_uuid for request in requests}
        )
        keys = {key for request in requests if (key := self._key(request)) is not None}
        self._known = await store.by_client_no(db, keys)
        judged = [self._judge(request) for request in requests]
        written = await self._write()
        ended = await self._take(written.values())
        self.calls = [
            Call(pay, partial(self._components.pay, pay, self._usable[pay.mode_uuid]))
            for pay in written.values()
            if pay.status == PayStatus.PAYING
        ]
        return [self._answer(one, written, ended) for one in judged]

    def _key(self, request: Request[PayAsked]) -> Key | None:
        """What a repeat is recognised by: the mode's merchant and the client's number."""
        found = self._usable.get(request.asked.mode_uuid)
        if found is None or request.merchant_uuid not in {"", found.mode.merchant_uuid}:
            return None
        return found.mode.merchant_uuid, request.asked.client_no

    def _judge(self, request: Request[PayAsked]) -> Answer | Key:
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
        status = PayStatus.UNPAY
        if method is Method.COMPONENT:
            status = states.PAY.next(status, Event.ASKED)
        return NewPay(
            uuid=numbers.new_uuid(),
            merchant_uuid=mode.merchant_uuid,
            client_pay_no=asked.client_no,
            content_hash=asked.content_hash,
            traction_no=self._numbers.take(numbers.PAY, 1)[0],
            mode_uuid=mode.uuid,
            template_id=mode.template_id,
            mode_name=mode.terms.name,
            channel=terms.channel or None,
            way=terms.way or None,
            method=method,
            async_notify=method is Method.COMPONENT and terms.async_notify,
            payer=asked.payer,
            payee=asked.payee,
            amount_micros=asked.amount_micros,
            params=asked.params,
            extra_params=asked.extra_params,
            status=status,
            sent=self._first_sent(method, terms, terms.pay_url),
            valid_h=terms.valid_h,
        )

    async def _write(self) -> dict[Key, PayOrder]:
        """Write what is new; numbers that another transaction has just taken become known."""
        if not self._new:
            return {}
        written = await store.insert(self._work.db, list(self._new.values()))
        if lost := [key for key in self._new if key not in written]:
            self._known |= await store.by_client_no(self._work.db, lost)
        await self._history.changed(self._work, written.values())
        return written

    async def _take(self, written: Iterable[PayOrder]) -> dict[str, PayOrder]:
        """Move the ledger for the built-in modes and end their pays."""
        mine = [pay for pay in written if pay.method != Method.COMPONENT]
        if not mine:
            return {}
        results = await ledger_moves.take(self._work, mine, self._stamp)
        ended = await settle_pays(self._work, self._history, results)
        return {one.traction_no: one for one in ended}

    def _answer(
        self, judged: Answer | Key, written: dict[Key, PayOrder], ended: dict[str, PayOrder]
    ) -> Answer:
        if not isinstance(judged, tuple):
            return judged
        pay = written.get(judged)
        if pay is None:  # another transaction was quicker
            return _repeat(self._known[judged], self._new[judged].content_hash)
        return Stored(ended.get(pay.traction_no, pay))


def _repeat(known: PayOrder, content_hash: bytes) -> Answer:
    """The answer to a number that came before."""
    if known.content_hash != content_hash:
        return PayDiffers(known.client_pay_no)
    return Stored(known, repeated=known.status not in states.OPEN_PAYS)
