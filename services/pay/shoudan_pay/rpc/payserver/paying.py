"""Pays: intent, ledger and history in one transaction per batch; then, outside of it, the component."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Mapping, Sequence
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
from shoudan_pay.payserver.judging import Method, PayAsked
from shoudan_pay.payserver.kinds import ASK_PAY, Ask
from shoudan_pay.payserver.refusals import ModeNotOpen, PayDiffers, PayNotWritten
from shoudan_pay.payserver.states import Event, PayStatus, Sent
from shoudan_pay.rpc.payserver import history, moving
from shoudan_pay.rpc.payserver.components import Components
from shoudan_pay.rpc.payserver.settling import Said, Settling, settle_pays
from shoudan_pay.rpc.payserver.watching import Watching
from shoudan_pay.store.payserver import modes as mode_store
from shoudan_pay.store.payserver import pays as store
from shoudan_pay.store.payserver.modes import Terms, Usable
from shoudan_pay.store.payserver.pays import NewPay, PayOrder

UNIQUE_VIOLATION: Final = "23505"  # two processes made the same tractionNo: made again
TRIES_MAX: Final = 5

_log = log.get_logger("payserver")


@dataclass(frozen=True, slots=True)
class Wish:
    """One pay of one caller."""

    merchant_uuid: str
    asked: PayAsked


@dataclass(frozen=True, slots=True)
class Paid:
    """A stored pay. `fresh`: written by this very call; `repeated`: it had ended before."""

    pay: PayOrder
    fresh: bool = False
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Offline:
    """Its mode is offline: nothing is stored."""


Answer = Paid | Offline | Refusal


class Paying:
    """Where all pays of this process meet."""

    def __init__(self, app: App[PaySettings], components: Components, settling: Settling) -> None:
        self._app, self._components, self._settling = app, components, settling
        self._numbers = numbers.Numbers(app.clock.now)
        self._calls: dict[str, asyncio.Future[PayOrder]] = {}
        self._running: set[asyncio.Task[PayOrder]] = set()
        self._gather: Coalescer[Sequence[Wish], list[Answer]] = Coalescer(
            self._run,
            name="pays",
            size_max=app.settings.pays_batch_max,
            waiting_max=app.settings.pays_waiting_max,
            weigh=len,
        )
        self._watching = Watching(app, "pays_seen", store.by_number, _asked_at)

    async def pay(self, wishes: Sequence[Wish], wait_s: float) -> list[Answer]:
        """One answer per wish, in order; components get `wait_s` to end theirs, then they stay paying."""
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        answers = await self._gather(wishes)
        open_pays = [one.pay.traction_no for one in answers if isinstance(one, Paid)]
        calls = {number: self._calls[number] for number in open_pays if number in self._calls}
        if calls:
            await asyncio.wait(calls.values(), timeout=max(0.0, until - loop.time()))
        seen = await self._seen(answers, calls, until - loop.time())
        return [_latest(one, calls, seen) for one in answers]

    async def _seen(
        self,
        answers: Sequence[Answer],
        calls: Mapping[str, asyncio.Future[PayOrder]],
        wait_s: float,
    ) -> dict[str, PayOrder]:
        """Repeats read as paying whose call has just ended here, or is another process's: how it ends."""
        missed = [
            one.pay.traction_no
            for one in answers
            if isinstance(one, Paid)
            and one.pay.status == PayStatus.PAYING
            and not one.pay.async_notify
            and one.pay.traction_no not in calls
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
                twice = isinstance(error, DBAPIError) and sql_state(error) == UNIQUE_VIOLATION
                if twice and attempt < TRIES_MAX:
                    continue
                if len(wishes) == 1:
                    trace = secrets.token_hex(8)
                    number = wishes[0].asked.client_pay_no
                    _log.error("pay_failed", trace=trace, client_pay_no=number, exc_info=True)
                    return [PayNotWritten(trace)]
            break
        middle = len(wishes) // 2
        return await self._accept(wishes[:middle]) + await self._accept(wishes[middle:])

    async def _transact(self, wishes: Sequence[Wish]) -> list[Answer]:
        called: list[str] = []
        try:
            async with self._app.work("payserver_pay") as work:
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
        for pay, usable in batch.to_call:
            call = asyncio.create_task(self._call(pay, usable), name=f"pay {pay.traction_no}")
            self._running.add(call)
            call.add_done_callback(partial(self._called, pay.traction_no))
        return answers

    def _called(self, number: str, call: asyncio.Task[PayOrder]) -> None:
        self._running.discard(call)
        future = self._calls.pop(number)
        error = None if call.cancelled() else call.exception()
        if error is None and not call.cancelled():
            future.set_result(call.result())
            return
        # Whoever waits answers what it read; a task asks what became of it.
        future.cancel()
        _log.warning("call_not_settled", traction_no=number, error=type(error).__name__)

    async def _call(self, pay: PayOrder, usable: Usable) -> PayOrder:
        """Ask the component once; what stays unknown is asked about by the task."""
        heard = await self._components.pay(pay, usable)
        return await self.heard(pay, heard)

    async def heard(self, pay: PayOrder, heard: Heard) -> PayOrder:
        """The pay order after what a component said to a call."""
        if heard.word in {Word.SUCCESS, Word.FAILED}:
            return await self._settling.pay(pay.traction_no, heard)
        sent = {Word.NOT_SENT: Sent.NOT, Word.RUNNING: Sent.HEARD}.get(heard.word, Sent.MAYBE)
        if heard.word is not Word.RUNNING:
            _log.warning("pay_unknown", traction_no=pay.traction_no, why=heard.why)
        if sent is not Sent.MAYBE:
            async with self._app.work("payserver_sent") as work:
                await store.mark_sent(work.db, pay.traction_no, sent, {Sent.MAYBE, Sent.HEARD})
        return pay


class _Batch:
    """One transaction's worth of pays."""

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
        self._usable: dict[str, Usable] = {}
        self._known: dict[tuple[str, str], PayOrder] = {}
        self._new: dict[tuple[str, str], NewPay] = {}
        self.to_call: list[tuple[PayOrder, Usable]] = []

    async def accept(self, wishes: Sequence[Wish]) -> list[Answer]:
        """Judge, write, move money, tell; one answer per wish."""
        db = self._work.db
        self._usable = await mode_store.usable(db, {wish.asked.mode_uuid for wish in wishes})
        keys = {key for wish in wishes if (key := self._key(wish)) is not None}
        self._known = await store.by_client_no(db, keys)
        judged = [self._judge(wish) for wish in wishes]
        written = await self._write()
        ended = await self._take(written.values())
        self._follow_up(pay for pay in written.values() if pay.status == PayStatus.PAYING)
        return [self._answer(one, written, ended) for one in judged]

    def _key(self, wish: Wish) -> tuple[str, str] | None:
        """What a repeat is recognised by: the mode's merchant and the client's number."""
        found = self._usable.get(wish.asked.mode_uuid)
        if found is None or wish.merchant_uuid not in {"", found.mode.merchant_uuid}:
            return None
        return found.mode.merchant_uuid, wish.asked.client_pay_no

    def _judge(self, wish: Wish) -> Answer | tuple[str, str]:
        """An answer, or the key of a pay this batch writes."""
        asked, key = wish.asked, self._key(wish)
        if key is None:
            return ModeNotOpen(asked.mode_uuid)
        if (known := self._known.get(key)) is not None:
            if known.content_hash != asked.content_hash:
                return PayDiffers(asked.client_pay_no)
            return Paid(known, repeated=PayStatus(known.status) not in states.OPEN_PAYS)
        if (twin := self._new.get(key)) is not None:
            return key if twin.content_hash == asked.content_hash else PayDiffers(key[1])
        found = self._usable[asked.mode_uuid]
        try:
            method = judging.method_of(found, wish.merchant_uuid, asked.mode_uuid)
            if method is None:
                return Offline()
            judging.check_params(method, found, asked.params)
        except Refusal as refusal:
            return refusal
        self._new[key] = self._made(asked, found, method)
        return key

    def _made(self, asked: PayAsked, found: Usable, method: Method) -> NewPay:
        mode, terms = found.mode, found.terms
        later = method is Method.COMPONENT and terms.async_notify
        status, now = PayStatus.UNPAY, self._call_now(method, terms)
        if method is Method.COMPONENT:
            status = states.advance_pay(status, Event.ASKED)
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
        await history.pays_changed(self._work, written.values())
        return written

    async def _take(self, written: Iterable[PayOrder]) -> dict[str, PayOrder]:
        """Move the ledger for the built-in modes and end their pays."""
        mine = [pay for pay in written if pay.method != Method.COMPONENT]
        if not mine:
            return {}
        refused = await moving.take(self._work, mine)
        said: list[Said] = []
        for pay in mine:
            no = refused.get(pay.traction_no)
            if no is None:
                said.append(Said(pay.traction_no, Heard(Word.SUCCESS, pay.traction_no)))
            else:
                reason = moving.words_of(no)
                said.append(Said(pay.traction_no, Heard(Word.FAILED, reason=reason)))
        ended = await settle_pays(self._work, said)
        return {one.traction_no: one for one in ended if isinstance(one, PayOrder)}

    def _follow_up(self, paying: Iterable[PayOrder]) -> None:
        """A component's pay has a task from the start: to call it, or to ask when nobody came back."""
        for pay in paying:
            now = pay.sent == Sent.MAYBE
            delay_s = 2 * self._settings.component_timeout_s if now else 0.0
            self._work.tasks.add(
                ASK_PAY, Ask(pay.traction_no), order_no=pay.traction_no, delay_s=delay_s
            )
            if now:
                self.to_call.append((pay, self._usable[pay.mode_uuid]))

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
            known, mine = self._known[judged], self._new[judged]
            if known.content_hash != mine.content_hash:
                return PayDiffers(known.client_pay_no)
            return Paid(known, repeated=PayStatus(known.status) not in states.OPEN_PAYS)
        return Paid(ended.get(pay.traction_no, pay), fresh=True)


def _asked_at(pay: PayOrder) -> datetime | None:
    """When its component was called, if nobody has written yet what came of that."""
    waiting = pay.status == PayStatus.PAYING and pay.sent == Sent.MAYBE and not pay.async_notify
    return pay.pay_start_time if waiting else None


def _latest(
    answer: Answer,
    calls: Mapping[str, asyncio.Future[PayOrder]],
    seen: Mapping[str, PayOrder],
) -> Answer:
    """The pay as its component's call left it, if that has ended."""
    if not isinstance(answer, Paid):
        return answer
    number = answer.pay.traction_no
    if number in seen:
        return Paid(seen[number], answer.fresh, answer.repeated)
    call = calls.get(number)
    if call is None or not call.done() or call.cancelled():
        return answer
    return Paid(call.result(), answer.fresh, answer.repeated)
