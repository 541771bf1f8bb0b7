"""Refunds: judged and written in batches under the lock of their pay orders; then the component."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy.exc import DBAPIError

from shoudan_kit import log
from shoudan_kit.batch import Coalescer
from shoudan_kit.db import Unavailable, retry, sql_state
from shoudan_kit.refusal import Refusal
from shoudan_kit.service import App
from shoudan_kit.work import Work
from shoudan_pay.channels.component import Heard, Word
from shoudan_pay.config import PaySettings
from shoudan_pay.payserver import judging, numbers, states
from shoudan_pay.payserver.judging import Method, RefundAsked
from shoudan_pay.payserver.kinds import ASK_REFUND, Ask
from shoudan_pay.payserver.refusals import PayNotFound, PayNotWritten, PayUrlEmpty, RefundDiffers
from shoudan_pay.payserver.states import Event, PayStatus, RefundStatus, Sent
from shoudan_pay.rpc.payserver import history, moving
from shoudan_pay.rpc.payserver.components import Components
from shoudan_pay.rpc.payserver.settling import Said, Settling, settle_refunds
from shoudan_pay.rpc.payserver.watching import Watching
from shoudan_pay.store.payserver import modes as mode_store
from shoudan_pay.store.payserver import pays as pay_store
from shoudan_pay.store.payserver import refunds as store
from shoudan_pay.store.payserver.modes import Usable
from shoudan_pay.store.payserver.pays import PayOrder
from shoudan_pay.store.payserver.refunds import RefundOrder

UNIQUE_VIOLATION: Final = "23505"
TRIES_MAX: Final = 5
OPEN: Final = frozenset({RefundStatus.UN_REFUND, RefundStatus.REFUNDING})

_log = log.get_logger("payserver")


@dataclass(frozen=True, slots=True)
class Wish:
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


class Refunding:
    """Where all refunds of this process meet."""

    def __init__(self, app: App[PaySettings], components: Components, settling: Settling) -> None:
        self._app, self._components, self._settling = app, components, settling
        self._numbers = numbers.Numbers(app.clock.now)
        self._calls: dict[str, asyncio.Future[RefundOrder]] = {}
        self._running: set[asyncio.Task[RefundOrder]] = set()
        self._gather: Coalescer[Sequence[Wish], list[Answer]] = Coalescer(
            self._run,
            name="pay_refunds",
            size_max=app.settings.pays_batch_max,
            waiting_max=app.settings.pays_waiting_max,
            weigh=len,
        )
        self._watching = Watching(app, "refunds_seen", store.by_number, _asked_at)

    async def refund(self, wishes: Sequence[Wish], wait_s: float) -> list[Answer]:
        """One answer per wish, in order; components get `wait_s`, then refunds stay refunding."""
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        answers = await self._gather(wishes)
        given = [one.refund.traction_no for one in answers if isinstance(one, Refunded)]
        calls = {number: self._calls[number] for number in given if number in self._calls}
        if calls:
            await asyncio.wait(calls.values(), timeout=max(0.0, until - loop.time()))
        seen = await self._seen(answers, calls, until - loop.time())
        return [_latest(one, calls, seen) for one in answers]

    async def _seen(
        self,
        answers: Sequence[Answer],
        calls: Mapping[str, asyncio.Future[RefundOrder]],
        wait_s: float,
    ) -> dict[str, RefundOrder]:
        """Repeats read as refunding whose call has just ended here, or is another process's: how it ends."""
        missed = [
            one.refund.traction_no
            for one in answers
            if isinstance(one, Refunded)
            and one.refund.status == RefundStatus.REFUNDING
            and not one.refund.async_notify
            and one.refund.traction_no not in calls
        ]
        return await self._watching.ended(missed, wait_s) if missed else {}

    def calling(self, traction_no: str) -> bool:
        """Whether this process is asking the component right now."""
        return traction_no in self._calls

    async def aclose(self) -> None:
        """Finish what was taken."""
        await self._gather.aclose()
        await self._watching.aclose()
        if self._running:
            await asyncio.wait(set(self._running))

    async def _run(self, asked: Sequence[Sequence[Wish]]) -> list[list[Answer] | Exception]:
        answers = iter(await self._accept([wish for wishes in asked for wish in wishes]))
        return [[next(answers) for _ in wishes] for wishes in asked]

    async def _accept(self, wishes: Sequence[Wish]) -> list[Answer]:
        """One transaction; if one wish poisons it, halves of it, down to the wish that fails alone."""
        for attempt in range(1, TRIES_MAX + 1):
            try:
                return await retry(lambda: self._transact(wishes))
            except Unavailable:
                raise
            except Exception as error:  # noqa: BLE001 - one wish must not spoil the others
                # Two processes made one tractionNo, or took the same clientRefundNo at the same time.
                twice = isinstance(error, DBAPIError) and sql_state(error) == UNIQUE_VIOLATION
                if twice and attempt < TRIES_MAX:
                    continue
                if len(wishes) == 1:
                    trace = secrets.token_hex(8)
                    number = wishes[0].asked.client_refund_no
                    _log.error("refund_failed", trace=trace, client_refund_no=number, exc_info=True)
                    return [PayNotWritten(trace)]
            break
        middle = len(wishes) // 2
        return await self._accept(wishes[:middle]) + await self._accept(wishes[middle:])

    async def _transact(self, wishes: Sequence[Wish]) -> list[Answer]:
        called: list[str] = []
        try:
            async with self._app.work("payserver_refund") as work:
                batch = _Batch(work, self._numbers, self._app.settings, self._components)
                answers = await batch.accept(wishes)
                # Before anybody can read the rows, so that every repeat finds the call to wait for.
                called += [one[0].traction_no for one in batch.to_call]
                for number in called:
                    self._calls[number] = asyncio.get_running_loop().create_future()
        except BaseException:
            for number in called:
                self._calls.pop(number).cancel()
            raise
        # Committed: from here on a dead process leaves a task that asks what became of it.
        for refund, pay, usable in batch.to_call:
            call = asyncio.create_task(self._call(refund, pay, usable))
            self._running.add(call)
            call.add_done_callback(partial(self._called, refund.traction_no))
        return answers

    def _called(self, number: str, call: asyncio.Task[RefundOrder]) -> None:
        self._running.discard(call)
        future = self._calls.pop(number)
        error = None if call.cancelled() else call.exception()
        if error is None and not call.cancelled():
            future.set_result(call.result())
            return
        # Whoever waits answers what it read; a task asks what became of it.
        future.cancel()
        _log.warning("call_not_settled", traction_no=number, error=type(error).__name__)

    async def _call(self, refund: RefundOrder, pay: PayOrder, usable: Usable) -> RefundOrder:
        heard = await self._components.refund(refund, pay, usable)
        return await self.heard(refund, heard)

    async def heard(self, refund: RefundOrder, heard: Heard) -> RefundOrder:
        """The refund after what a component said to a call."""
        if heard.word in {Word.SUCCESS, Word.FAILED}:
            return await self._settling.refund(refund.traction_no, heard)
        sent = {Word.NOT_SENT: Sent.NOT, Word.RUNNING: Sent.HEARD}.get(heard.word, Sent.MAYBE)
        if heard.word is not Word.RUNNING:
            _log.warning("refund_unknown", traction_no=refund.traction_no, why=heard.why)
        if sent is not Sent.MAYBE:
            async with self._app.work("payserver_sent") as work:
                await store.mark_sent(work.db, refund.traction_no, sent, {Sent.MAYBE, Sent.HEARD})
        return refund


class _Batch:
    """One transaction's worth of refunds."""

    def __init__(
        self,
        work: Work,
        made: numbers.Numbers,
        settings: PaySettings,
        components: Components,
    ) -> None:
        self._work, self._numbers, self._settings = work, made, settings
        self._components = components
        self._calls = 0
        self._pays: dict[str, PayOrder] = {}
        self._known: dict[tuple[str, str], RefundOrder] = {}
        self._firsts: dict[str, RefundOrder] = {}
        self._usable: dict[str, Usable] = {}
        self._taken: dict[int, int] = {}
        self._new: dict[str, RefundOrder] = {}
        self.to_call: list[tuple[RefundOrder, PayOrder, Usable]] = []

    async def accept(self, wishes: Sequence[Wish]) -> list[Answer]:
        """Lock the pay orders, judge, write, move money, tell; one answer per wish."""
        now = await self._read(wishes)
        judged = [self._judge(wish, now) for wish in wishes]
        written: dict[str, RefundOrder] = {}
        if self._new:
            written = await store.insert(self._work.db, list(self._new.values()))
            await history.refunds_changed(self._work, written.values())
        written |= await self._give_back(written)
        self._follow_up(written)
        return [one if not isinstance(one, str) else Refunded(written[one]) for one in judged]

    async def _read(self, wishes: Sequence[Wish]) -> datetime | None:
        """Everything the judgement needs; the pay orders stay locked, so nobody can add to it."""
        db = self._work.db
        wanted = {wish.asked.pay_traction_no for wish in wishes}
        self._pays, now = await pay_store.lock(db, wanted)
        keys = {
            (pay.merchant_uuid, wish.asked.client_refund_no)
            for wish in wishes
            if (pay := self._pay(wish)) is not None
        }
        if not keys:
            return now
        self._known = await store.by_client_no(db, keys)
        given = await store.given(db, {pay.id for pay in self._pays.values()})
        self._taken = {one.pay_id: one.micros for one in given.values()}
        whole = {p.id for p in self._pays.values() if p.status == PayStatus.REFUNDED}
        firsts = {one.first for one in given.values() if one.pay_id in whole}
        if firsts:
            found = await store.by_number(db, firsts)
            self._firsts = {one.pay_traction_no: one for one in found.values()}
        modes = {pay.mode_uuid for pay in self._pays.values()}
        self._usable = await mode_store.usable(db, modes)
        return now

    def _pay(self, wish: Wish) -> PayOrder | None:
        pay = self._pays.get(wish.asked.pay_traction_no)
        if pay is None or wish.merchant_uuid not in {"", pay.merchant_uuid}:
            return None
        return pay

    def _judge(self, wish: Wish, now: datetime | None) -> Answer | str:
        """An answer, or the number of a refund this batch writes."""
        asked, pay = wish.asked, self._pay(wish)
        if pay is None or now is None:
            return PayNotFound(asked.pay_traction_no)
        key = pay.merchant_uuid, asked.client_refund_no
        if (known := self._known.get(key)) is not None:
            if known.content_hash != asked.content_hash:
                return RefundDiffers(asked.client_refund_no)
            if known.traction_no in self._new:
                return known.traction_no
            return Refunded(known, repeated=RefundStatus(known.status) not in OPEN)
        if (first := self._firsts.get(pay.traction_no)) is not None:
            return Refunded(first, repeated=True)
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
        amount = judging.judge_refund(asked, pay, self._taken.get(pay.id, 0), now)
        component = pay.method == Method.COMPONENT
        if component and not usable.terms.refund_url:
            raise PayUrlEmpty("refundUrl")
        later = component and usable.terms.async_notify
        self._calls += 1
        now_called = component and not later
        now_called &= self._components.has_room(usable.terms.refund_url, self._calls)
        status = RefundStatus.UN_REFUND
        if component:
            status = states.advance_refund(status, Event.ASKED)
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
        refused = await moving.give_back(self._work, mine)
        said: list[Said] = []
        for one, _ in mine:
            no = refused.get(one.traction_no)
            heard = Heard(Word.SUCCESS, one.traction_no)
            if no is not None:
                heard = Heard(Word.FAILED, reason=moving.words_of(no))
            said.append(Said(one.traction_no, heard))
        ended = await settle_refunds(self._work, said)
        return {one.traction_no: one for one in ended if isinstance(one, RefundOrder)}

    def _follow_up(self, written: dict[str, RefundOrder]) -> None:
        for refund in written.values():
            if refund.status != RefundStatus.REFUNDING:
                continue
            number = refund.traction_no
            now = refund.sent == Sent.MAYBE
            delay_s = 2 * self._settings.component_timeout_s if now else 0.0
            self._work.tasks.add(ASK_REFUND, Ask(number), order_no=number, delay_s=delay_s)
            if now:
                pay = self._pays[refund.pay_traction_no]
                self.to_call.append((refund, pay, self._usable[refund.mode_uuid]))


def _asked_at(refund: RefundOrder) -> datetime | None:
    """When its component was called, if nobody has written yet what came of that."""
    asked = refund.status == RefundStatus.REFUNDING and refund.sent == Sent.MAYBE
    return refund.start_time if asked and not refund.async_notify else None


def _latest(
    answer: Answer,
    calls: Mapping[str, asyncio.Future[RefundOrder]],
    seen: Mapping[str, RefundOrder],
) -> Answer:
    """The refund as its component's call left it, if that has ended."""
    if not isinstance(answer, Refunded):
        return answer
    number = answer.refund.traction_no
    if number in seen:
        return Refunded(seen[number], answer.repeated)
    call = calls.get(number)
    if call is None or not call.done() or call.cancelled():
        return answer
    return Refunded(call.result(), answer.repeated)
