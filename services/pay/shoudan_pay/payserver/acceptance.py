"""What pays and refunds share: a transaction per batch; then, outside of it, calls and who waits for them."""

from __future__ import annotations

import asyncio
import secrets
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, Generic, Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit import log
from shoudan_kit.batch import Coalescer
from shoudan_kit.db.errors import Unavailable, taken
from shoudan_kit.db.pool import retry
from shoudan_kit.service import App
from shoudan_kit.tasks.kinds import Kind
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_pay.config import PaySettings
from shoudan_pay.payserver.kinds import Ask
from shoudan_pay.payserver.protocol import NO_FEN, AnswerKind, ComponentAnswer
from shoudan_pay.payserver.rules import fen
from shoudan_pay.payserver.states import Sent, SentEvent
from shoudan_pay.payserver.waiters import Waiters

TRIES_MAX: Final = 5
SENT_EVENTS: Final = {
    AnswerKind.NOT_SENT: SentEvent.NOT_SENT,
    AnswerKind.RUNNING: SentEvent.RUNNING,
}

_log = log.get_logger("payserver")


class Order(Protocol):
    """What a pay order and a refund have in common."""

    @property
    def traction_no(self) -> str:
        """Its number."""
        ...

    @property
    def status(self) -> str:
        """In the words of its own lifecycle."""
        ...

    @property
    def amount_micros(self) -> int:
        """What was asked for."""
        ...

    @property
    def sent(self) -> str:
        """How far its component has been asked."""
        ...

    @property
    def async_notify(self) -> bool:
        """Whether its component tells the end later; nobody waits for it."""
        ...


W = TypeVar("W")  # what a caller wishes
A = TypeVar("A")  # what it is answered
T = TypeVar("T", bound=Order)  # what is stored


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A stored order and how its component is asked for it."""

    order: T
    ask: Callable[[], Awaitable[ComponentAnswer]]


@dataclass(frozen=True, slots=True)
class OrderKind(Generic[T]):
    """What pays or refunds have of their own: names, states, statements."""

    batches: str  # in metrics: wishes accepted together
    looks: str  # in metrics: repeats that look for what another process stores
    transaction: str  # in the names of fault points
    unknown: str  # the log's word for a call nobody knows the end of
    task: Kind[Ask]
    asked: str  # the status from the moment a component is to be asked until its final word
    asked_time: Callable[[T], datetime]
    by_number: Callable[[AsyncConnection, Collection[str]], Awaitable[Mapping[str, T]]]
    mark_sent: Callable[[AsyncConnection, str, SentEvent], Awaitable[bool]]
    told_fen: Callable[[ComponentAnswer], int | None]  # the amount that an answer names


class Acceptance(ABC, Generic[W, A, T]):
    """Where all pays, or all refunds, of this process meet."""

    def __init__(
        self,
        app: App[PaySettings],
        own: OrderKind[T],
        settle: Callable[[str, ComponentAnswer], Awaitable[T]],
        differs: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._app, self._own, self._settle, self._differs = app, own, settle, differs
        self._calls: dict[str, asyncio.Future[T]] = {}
        self._running: set[asyncio.Task[T]] = set()
        self._gather: Coalescer[Sequence[W], list[A]] = Coalescer(
            self._run,
            name=own.batches,
            size_max=app.settings.pays_batch_max,
            waiting_max=app.settings.pays_waiting_max,
            weight_of=len,
        )
        self._waiters = Waiters(app, own.looks, own.by_number, self._asked_at)

    @abstractmethod
    async def _write(
        self, work: UnitOfWork, requests: Sequence[W]
    ) -> tuple[list[A], list[Call[T]]]:
        """Judge and write one batch: an answer per wish, in order, and the components to ask."""

    @abstractmethod
    def _not_written(self, request: W, trace: str) -> A:
        """Log the exception at hand; the answer to the wish that caused it."""

    def calling(self, traction_no: str) -> bool:
        """Whether this process is asking the component right now."""
        return traction_no in self._calls

    async def heard(self, order: T, heard: ComponentAnswer) -> T:
        """The order after what a component said to a call."""
        number = order.traction_no
        told, asked = self._own.told_fen(heard), fen(order.amount_micros)
        if told not in {None, asked}:
            shown = "that is none" if told == NO_FEN else f"{told} 分"
            await self._differs(number, f"amount {shown} for {asked} 分")
            heard = ComponentAnswer(AnswerKind.UNKNOWN, why="another amount")
        if heard.word in {AnswerKind.SUCCESS, AnswerKind.FAILED}:
            return await self._settle(number, heard)
        if heard.word is not AnswerKind.RUNNING:
            _log.warning(self._own.unknown, traction_no=number, why=heard.why)
        if (event := SENT_EVENTS.get(heard.word)) is not None:
            async with self._app.work("payserver_sent") as work:
                await self._own.mark_sent(work.db, number, event)
        return order

    async def aclose(self) -> None:
        """Finish what was taken."""
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

    def _asked_at(self, order: T) -> datetime | None:
        """When its component was called, if nobody has written yet what came of that."""
        asked = self._awaited(order) and order.sent == Sent.MAYBE
        return self._own.asked_time(order) if asked else None

    async def _run(self, asked: Sequence[Sequence[W]]) -> list[list[A] | Exception]:
        answers = iter(await self._accept([request for requests in asked for request in requests]))
        return [[next(answers) for _ in requests] for requests in asked]

    async def _accept(self, requests: Sequence[W]) -> list[A]:
        """One transaction; if one wish poisons it, halves of it, down to the wish that fails alone."""
        for attempt in range(1, TRIES_MAX + 1):
            try:
                return await retry(lambda: self._transact(requests))
            except Unavailable:
                raise
            except Exception as error:  # noqa: BLE001 - one wish must not spoil the others
                # Two processes made the same tractionNo, or took the same client's number: made again.
                if taken(error) and attempt < TRIES_MAX:
                    continue
                if len(requests) == 1:
                    return [self._not_written(requests[0], secrets.token_hex(8))]
            break
        middle = len(requests) // 2
        return await self._accept(requests[:middle]) + await self._accept(requests[middle:])

    async def _transact(self, requests: Sequence[W]) -> list[A]:
        calls: list[Call[T]] = []
        try:
            async with self._app.work(self._own.transaction) as work:
                answers, to_ask = await self._write(work, requests)
                calls = self._follow_up(work, to_ask)
                # Before anybody can read the rows, so that every repeat finds the call to wait for.
                for call in calls:
                    future = asyncio.get_running_loop().create_future()
                    self._calls[call.order.traction_no] = future
        except BaseException:
            for call in calls:
                self._calls.pop(call.order.traction_no).cancel()
            raise
        # Committed: from here on a dead process leaves a task that asks what became of it.
        for call in calls:
            number = call.order.traction_no
            task = asyncio.create_task(self._call(call), name=f"{self._own.transaction} {number}")
            self._running.add(task)
            task.add_done_callback(partial(self._called, number))
        return answers

    def _follow_up(self, work: UnitOfWork, to_ask: Sequence[Call[T]]) -> list[Call[T]]:
        """A task for each from the start, to call or to ask when nobody came back; those to call now."""
        now: list[Call[T]] = []
        for call in to_ask:
            number, delay_s = call.order.traction_no, 0.0
            if call.order.sent == Sent.MAYBE:
                now.append(call)
                delay_s = 2 * self._app.settings.component_timeout_s
            work.tasks.add(self._own.task, Ask(number), order_no=number, delay_s=delay_s)
        return now

    async def _call(self, call: Call[T]) -> T:
        """Ask the component once; what stays unknown is asked about by the task."""
        return await self.heard(call.order, await call.ask())

    def _called(self, number: str, call: asyncio.Task[T]) -> None:
        self._running.discard(call)
        future = self._calls.pop(number)
        error = None if call.cancelled() else call.exception()
        if error is None and not call.cancelled():
            future.set_result(call.result())
            return
        # Whoever waits answers what it read; a task asks what became of it.
        future.cancel()
        _log.warning("call_not_settled", traction_no=number, error=type(error).__name__)
