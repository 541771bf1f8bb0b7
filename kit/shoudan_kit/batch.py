"""Coalescer: calls that are in flight at the same time become one batch, unseen by the callers."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

from shoudan_kit import metrics
from shoudan_kit.limits.slots import SlotBook, Slots
from shoudan_kit.rpc.refusal import Overloaded, ShuttingDown

Q = TypeVar("Q")
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class _Raised:
    """An exception on its way to a caller.

    A result, not a future's exception: one whose caller was cancelled meanwhile would be reported as
    never retrieved. The traceback is kept apart, or a batch's callers would all append to one.
    """

    error: Exception
    traceback: TracebackType | None


class Coalescer(Generic[Q, A]):
    """`await coalescer(question)` answers like an ordinary call; `run` sees batches in order of arrival.

    `run` gives one answer or one Exception per question, in their order; the exception is raised to that
    caller alone. If `run` itself raises, the callers of that batch get what it raised.

    A call into an idle coalescer starts in the same turn of the event loop, together with its
    contemporaries. While a batch is in flight, newcomers gather until there are `size_max`, `linger_s` is
    over or nothing is in flight any more; at most `in_flight_max` batches run at once. The end of one of
    several batches begins none by itself: few calls would follow each other in ever smaller batches.
    More than `waiting_max` gathered: Overloaded.
    A caller that gives up leaves the gathering; a batch already begun is finished without it.

    `weight_of` tells how much of `size_max` a question takes, 1 unless given: for callers that ask in bulk.
    A question heavier than `size_max` makes a batch by itself.

    `slots` are shared with coalescers of the same name of the process's other shards at that server:
    together they have `in_flight_max` batches, and what waits for a slot is gathered until it comes.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Q]], Awaitable[Sequence[A | Exception]]],
        *,
        name: str,
        size_max: int = 200,
        linger_s: float = 0.002,
        in_flight_max: int = 2,
        waiting_max: int = 10_000,
        weight_of: Callable[[Q], int] | None = None,
        slots: SlotBook | None = None,
    ) -> None:
        if min(size_max, in_flight_max, waiting_max) < 1 or linger_s < 0:
            raise ValueError(f"{name}: a coalescer's bounds are positive")
        self._run, self._name = run, name
        self._size_max, self._linger_s = size_max, linger_s
        self._in_flight_max, self._waiting_max = in_flight_max, waiting_max
        self._weight_of = weight_of
        self._slots = Slots(in_flight_max) if slots is None else slots.of(name, in_flight_max)
        self._offered = asyncio.Event()
        self._waiting: deque[tuple[Q, asyncio.Future[A | _Raised]]] = deque()
        self._waiting_weight = 0
        self._in_flight: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Handle | None = None
        self._lingering = False
        self._closed = False
        # A batch belongs to no single caller, so it must not inherit the first one's request id.
        self._context = contextvars.Context()

    @property
    def waiting(self) -> int:
        """Calls gathered and not yet begun."""
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """Batches begun and not yet finished."""
        return len(self._in_flight)

    async def __call__(self, question: Q) -> A:
        """The answer to `question`. Raises its exception, Overloaded or ShuttingDown."""
        if self._closed:
            raise ShuttingDown(self._name)
        if len(self._waiting) >= self._waiting_max:
            self._forget_cancelled()
        if len(self._waiting) >= self._waiting_max:
            metrics.BATCH_REFUSED_TOTAL(self._name).inc()
            raise Overloaded(self._name, self._waiting_max)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[A | _Raised] = loop.create_future()
        self._waiting.append((question, future))
        self._waiting_weight += self._weight(question)
        self._arrange(loop)
        answer = await future
        if isinstance(answer, _Raised):
            raise answer.error.with_traceback(answer.traceback)
        return answer

    async def aclose(self) -> None:
        """Take no new calls, answer all that were taken."""
        self._closed = True
        # Ends: nothing new is gathered, and each round takes a batch away or waits for one.
        while self._waiting or self._in_flight:
            self._start()
            if self._in_flight:
                await asyncio.wait(self._in_flight)
            elif self._waiting:  # for a slot
                self._offered.clear()
                await self._offered.wait()

    def _arrange(self, loop: asyncio.AbstractEventLoop) -> None:
        """See to it that what waits is begun: this turn when idle, when full, or after the linger."""
        in_flight = len(self._in_flight)
        if in_flight >= self._in_flight_max:
            return  # looked at again at the end of a batch
        if not in_flight or self._waiting_weight >= self._size_max:
            if self._timer is None or self._lingering:
                self._disarm()
                self._timer = loop.call_soon(self._start, context=self._context)
        elif self._timer is None:
            self._lingering = True
            self._timer = loop.call_later(self._linger_s, self._start, context=self._context)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._lingering = None, False

    def _start(self) -> None:
        """Begin as many batches as fit, full ones first; called with the linger over."""
        self._disarm()
        while self._waiting and len(self._in_flight) < self._in_flight_max:
            if not self._slots.take(self, self._start_with_slot):
                return
            batch = self._take()
            if not batch:
                self._slots.give_back()
                return
            task = asyncio.get_running_loop().create_task(
                self._answer(batch), name=f"batch {self._name}", context=self._context
            )
            self._in_flight.add(task)
            task.add_done_callback(self._ended, context=self._context)

    def _start_with_slot(self) -> None:
        self._start()
        self._offered.set()

    def _take(self) -> list[tuple[Q, asyncio.Future[A | _Raised]]]:
        """The next batch, without the callers that have given up."""
        batch: list[tuple[Q, asyncio.Future[A | _Raised]]] = []
        room = self._size_max
        while self._waiting and room > 0:
            question, future = self._waiting[0]
            weight = self._weight(question)
            if batch and weight > room and not future.done():
                break
            self._waiting.popleft()
            self._waiting_weight -= weight
            if not future.done():
                batch.append((question, future))
                room -= weight
        return batch

    def _weight(self, question: Q) -> int:
        return 1 if self._weight_of is None else self._weight_of(question)

    def _forget_cancelled(self) -> None:
        self._waiting = deque(one for one in self._waiting if not one[1].done())
        self._waiting_weight = sum(self._weight(question) for question, _ in self._waiting)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._slots.give_back()
        if self._waiting:
            self._arrange(task.get_loop())

    async def _answer(self, batch: list[tuple[Q, asyncio.Future[A | _Raised]]]) -> None:
        began = time.perf_counter()
        try:
            answers = await self._run([question for question, _ in batch])
            if len(answers) != len(batch):
                raise RuntimeError(
                    f"batch {self._name}: {len(answers)} answers to {len(batch)} questions"
                )
        except Exception as error:  # noqa: BLE001 - handed whole to the callers, who decide
            _deliver(batch, [error] * len(batch))
        else:
            _deliver(batch, answers)
        finally:
            # Only the cancellation of the batch itself leaves callers without an answer.
            for _, future in batch:
                if not future.done():
                    future.cancel()
            metrics.batch_done(self._name, len(batch), time.perf_counter() - began)


def _deliver(
    batch: Sequence[tuple[Q, asyncio.Future[A | _Raised]]], answers: Sequence[A | Exception]
) -> None:
    """Give each caller that still waits its own answer."""
    # Stored before a caller raises it: an exception shared by callers would gather all their frames.
    for (_, future), answer in zip(batch, answers, strict=True):
        if future.done():
            continue
        if isinstance(answer, Exception):
            future.set_result(_Raised(answer, answer.__traceback__))
        else:
            future.set_result(answer)
