"""What pays and refunds share: one transaction per batch; after it, the calls to components."""

from __future__ import annotations

import asyncio
import secrets
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from shoudan_kit import log
from shoudan_kit.batch import Coalescer
from shoudan_kit.db.errors import Unavailable, taken
from shoudan_kit.db.pool import retry
from shoudan_kit.rpc.refusal import Refusal
from shoudan_kit.service import App
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger.chain_hash import stamp_of
from shoudan_pay.payserver import numbers
from shoudan_pay.payserver.components import Components
from shoudan_pay.payserver.kinds import Ask
from shoudan_pay.payserver.protocol import NO_FEN, AnswerKind, ComponentAnswer
from shoudan_pay.payserver.refusals import PayNotWritten
from shoudan_pay.payserver.rules import Method, fen
from shoudan_pay.payserver.settlement import OrderKind, Settlement, other_amount
from shoudan_pay.payserver.states import Sent, SentEvent
from shoudan_pay.payserver.store.modes import Terms
from shoudan_pay.payserver.store.orders import Order
from shoudan_pay.payserver.waiters import Waiters

TRIES_MAX: Final = 5
SENT_EVENTS: Final = {
    AnswerKind.NOT_SENT: SentEvent.NOT_SENT,
    AnswerKind.RUNNING: SentEvent.RUNNING,
}

_log = log.get_logger("payserver")


class Asked(Protocol):
    """A caller's pay or refund, its shape checked."""

    @property
    def client_no(self) -> str:
        """The client's own number."""
        ...

    @property
    def content_hash(self) -> bytes:
        """The same for the same content."""
        ...


K = TypeVar("K", bound=Asked)
T = TypeVar("T", bound=Order)


@dataclass(frozen=True, slots=True)
class Request(Generic[K]):
    """One pay or refund of one caller; no merchant: any."""

    merchant_uuid: str
    asked: K


@dataclass(frozen=True, slots=True)
class Stored(Generic[T]):
    """A stored pay or refund. `repeated`: it had ended before this call."""

    order: T
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Offline:
    """The mode is offline: nothing is stored."""


Answer: TypeAlias = Stored[T] | Offline | Refusal


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A stored order and the call to its component."""

    order: T
    send: Callable[[], Awaitable[ComponentAnswer]]


class Batch(ABC, Generic[K, T]):
    """One transaction's worth of pays or refunds."""

    def __init__(self, work: UnitOfWork, acceptance: Acceptance[K, T]) -> None:
        self._work, self._history = work, acceptance.history
        self._numbers, self._components = acceptance.numbers, acceptance.components
        self._stamp = acceptance.stamp
        self._calls = 0
        self.calls: list[Call[T]] = []

    @abstractmethod
    async def accept(self, requests: Sequence[Request[K]]) -> list[Answer[T]]:
        """Judge, write, move money; an answer per request, in order, and `calls` to make after the commit."""

    def _first_sent(self, method: Method, terms: Terms, url: str | None) -> Sent:
        """MAYBE when the component is called right after the commit; otherwise its task calls it."""
        if method is not Method.COMPONENT or terms.async_notify:
            return Sent.NOT
        self._calls += 1
        return Sent.MAYBE if self._components.has_room(url, self._calls) else Sent.NOT


class Acceptance(ABC, Generic[K, T]):
    """Where all pays, or all refunds, of this process meet."""

    def __init__(
        self,
        app: App[PaySettings],
        own: OrderKind[T],
        components: Components,
        settlement: Settlement,
    ) -> None:
        self._app, self._own, self._settlement = app, own, settlement
        self.components, self.history = components, settlement.history
        self.numbers, self.stamp = numbers.Numbers(app.clock.now), stamp_of(app.settings)
        self._calls: dict[str, asyncio.Future[T]] = {}
        self._running: set[asyncio.Task[T]] = set()
        self._gather: Coalescer[Sequence[Request[K]], list[Answer[T]]] = Coalescer(
            self._run,
            name=own.batches,
            size_max=app.settings.pays_batch_max,
            waiting_max=app.settings.pays_waiting_max,
            weight_of=len,
        )
        self._waiters = Waiters(app, own.looks, own.orders.by_number, self._answer_expected_since)

    @abstractmethod
    def _batch(self, work: UnitOfWork) -> Batch[K, T]:
        """A batch to accept requests in."""

    async def accept(self, requests: Sequence[Request[K]], wait_s: float) -> list[Answer[T]]:
        """One answer per request, in order; what its component does not end in `wait_s` stays open."""
        until = asyncio.get_running_loop().time() + wait_s
        answers = await self._gather(requests)
        stored = [one.order for one in answers if isinstance(one, Stored)]
        ended = await self._ended(stored, until)
        return [
            Stored(ended.get(one.order.traction_no, one.order), one.repeated)
            if isinstance(one, Stored)
            else one
            for one in answers
        ]

    def calling(self, traction_no: str) -> bool:
        """Whether this process is calling the component right now."""
        return traction_no in self._calls

    async def apply(self, order: T, answer: ComponentAnswer) -> T:
        """The order after an answer of its component."""
        number = order.traction_no
        named, asked = self._own.fen_of(answer), fen(order.amount_micros)
        if named not in {None, asked}:
            other = other_amount("amount", None if named == NO_FEN else named, asked)
            await self._settlement.differs(number, other)
            answer = ComponentAnswer(AnswerKind.UNKNOWN, why="another amount")
        if answer.word in {AnswerKind.SUCCESS, AnswerKind.FAILED}:
            return await self._settlement.settle(self._own, number, answer)
        if answer.word is not AnswerKind.RUNNING:
            _log.warning(self._own.unknown, traction_no=number, why=answer.why)
        if (event := SENT_EVENTS.get(answer.word)) is not None:
            async with self._app.work("payserver_sent") as work:
                await self._own.orders.mark_sent(work.db, number, event)
        return order

    async def aclose(self) -> None:
        """Finish what was accepted."""
        await self._gather.aclose()
        await self._waiters.aclose()
        if self._running:
            await asyncio.wait(set(self._running))

    async def _ended(self, orders: Sequence[T], until: float) -> dict[str, T]:
        """Those whose call has ended, as it left them; waits for that `until` (loop time) at most."""
        loop = asyncio.get_running_loop()
        calls = {
            one.traction_no: self._calls[one.traction_no]
            for one in orders
            if one.traction_no in self._calls
        }
        if calls:
            await asyncio.wait(calls.values(), timeout=max(0.0, until - loop.time()))
        # Repeats whose call has just ended here, or is another process's.
        missed = [
            one.traction_no for one in orders if self._awaited(one) and one.traction_no not in calls
        ]
        seen = await self._waiters.ended(missed, until - loop.time()) if missed else {}
        done = {n: call for n, call in calls.items() if call.done() and not call.cancelled()}
        return seen | {number: call.result() for number, call in done.items()}

    def _awaited(self, order: T) -> bool:
        return order.status == self._own.asked and not order.async_notify

    def _answer_expected_since(self, order: T) -> datetime | None:
        """When its component was called, if the answer is not stored yet."""
        expected = self._awaited(order) and order.sent == Sent.MAYBE
        return order.called_at if expected else None

    async def _run(
        self, asked: Sequence[Sequence[Request[K]]]
    ) -> list[list[Answer[T]] | Exception]:
        answers = iter(await self._accept([request for requests in asked for request in requests]))
        return [[next(answers) for _ in requests] for requests in asked]

    async def _accept(self, requests: Sequence[Request[K]]) -> list[Answer[T]]:
        """One transaction; when one request makes it fail, halves of it, down to that request alone."""
        for attempt in range(1, TRIES_MAX + 1):
            try:
                return await retry(lambda: self._transact(requests))
            except Unavailable:
                raise
            except Exception as error:  # noqa: BLE001 - one request must not fail the others
                # Two processes made the same tractionNo, or took the same client's number: made again.
                if taken(error) and attempt < TRIES_MAX:
                    continue
                if len(requests) == 1:
                    return [self._not_written(requests[0])]
            break
        middle = len(requests) // 2
        return await self._accept(requests[:middle]) + await self._accept(requests[middle:])

    def _not_written(self, request: Request[K]) -> Refusal:
        """Log the exception at hand, and refuse the request that caused it."""
        trace = secrets.token_hex(8)
        number = {self._own.client_no: request.asked.client_no}
        _log.error(self._own.failed, trace=trace, exc_info=True, **number)
        return PayNotWritten(trace)

    async def _transact(self, requests: Sequence[Request[K]]) -> list[Answer[T]]:
        calls: list[Call[T]] = []
        try:
            async with self._app.work(self._own.transaction) as work:
                batch = self._batch(work)
                answers = await batch.accept(requests)
                calls = self._follow_up(work, batch.calls)
                # Before the rows can be read, so that every repeat finds the call to wait for.
                for call in calls:
                    future = asyncio.get_running_loop().create_future()
                    self._calls[call.order.traction_no] = future
        except BaseException:
            for call in calls:
                self._calls.pop(call.order.traction_no).cancel()
            raise
        # Committed: from here on a process that dies leaves a task that queries the result.
        for call in calls:
            number = call.order.traction_no
            task = asyncio.create_task(self._call(call), name=f"{self._own.transaction} {number}")
            self._running.add(task)
            task.add_done_callback(partial(self._called, number))
        return answers

    def _follow_up(self, work: UnitOfWork, to_call: Sequence[Call[T]]) -> list[Call[T]]:
        """A task for each, which calls or queries when this process does not; those to call now."""
        now: list[Call[T]] = []
        for call in to_call:
            number, delay_s = call.order.traction_no, 0.0
            if call.order.sent == Sent.MAYBE:
                now.append(call)
                delay_s = 2 * self._app.settings.component_timeout_s
            work.tasks.add(self._own.task, Ask(number), order_no=number, delay_s=delay_s)
        return now

    async def _call(self, call: Call[T]) -> T:
        """Call the component once; the task queries what stays unknown."""
        return await self.apply(call.order, await call.send())

    def _called(self, number: str, call: asyncio.Task[T]) -> None:
        self._running.discard(call)
        future = self._calls.pop(number)
        error = None if call.cancelled() else call.exception()
        if error is None and not call.cancelled():
            future.set_result(call.result())
            return
        # Waiting calls answer with the row they read; the task queries the result.
        future.cancel()
        _log.warning("call_not_settled", traction_no=number, error=type(error).__name__)
