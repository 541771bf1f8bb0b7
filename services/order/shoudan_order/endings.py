"""How the last two steps of an order ended: its notify, and its supplier's payment, recorded together.

They begin together, with the order's end, and both change its row. So the one that ends first waits for
the other, shortly, and one transaction records both; whatever keeps the other away, each is recorded.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Awaitable, Coroutine, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy.exc import DBAPIError

from shoudan_kit import log, metrics
from shoudan_kit.batch import Coalescer
from shoudan_kit.db.errors import Unavailable
from shoudan_kit.db.pool import retry
from shoudan_kit.http.client import Answered, HttpResult
from shoudan_kit.ids import time_of
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.tasks.kinds import Task
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import events, goods_notifies, kinds
from shoudan_order.context import Context, Purchase
from shoudan_order.notify_words import acknowledged
from shoudan_order.states import OrderStatus
from shoudan_order.store import endings as store
from shoudan_order.store.rows import NotifyRow

_log = log.get_logger("notifies")

TOGETHER_S: Final = 0.1  # how long the step that ended first waits for the other
ANSWER_CHARS_MAX: Final = 256
NOT_KEPT: Final = "(not kept: the notify carried cards)"  # which an answer may repeat
AWAY_S: Final = 5.0  # before a notify is resent whose outcome could not be stored
OUTCOMES: Final = {int(OrderStatus.SUCCEEDED): "success", int(OrderStatus.PARTIAL): "partial"}

ORDER_NOTIFIED_SECONDS: Final = metrics.histogram(
    "order_notified_seconds",
    "From an order's acceptance to its first acknowledged notify, if that was the first sent.",
    ("outcome",),
    (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
NOTIFY_DELAY_SECONDS: Final = metrics.histogram(
    "notify_delay_seconds",
    "From the end of an order or refund to the answer of its first notify.",
    ("outcome",),
    (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300),
)


class Attempt(msgspec.Struct, frozen=True):
    """A call that has ended."""

    task: Task[kinds.NotifyStep]
    row: NotifyRow
    outcome: HttpResult
    took_ms: int
    skipped: bool = False
    withheld: bool = False  # its cards were not to be had, so the partner was not called
    with_cards: bool = False
    of_goods: bool = False  # in the words of the 虚拟货源 interface
    purchase: Purchase | None = None  # of its order, recorded with it

    @property
    def acknowledged(self) -> bool:
        """Whether the partner has taken it."""
        judge = goods_notifies.acknowledged if self.of_goods else acknowledged
        return judge(self.outcome)


class Endings:
    """Records notifies and purchases that have ended in this process."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._calling: set[int] = set()  # orders whose partner is being called
        self._answered: dict[int, Attempt] = {}  # waits for the purchase of its order
        self._bought: dict[int, Purchase] = {}  # waits for the notify of its order
        self._runs: set[asyncio.Task[None]] = set()
        self._record: Coalescer[Attempt, None] = Coalescer(
            self._record_batch,
            name="notify.record",
            size_max=200,
            linger_s=0.005,
            slots=context.app.db.slots,
        )

    async def aclose(self) -> None:
        """Record what waits."""
        answered, bought = list(self._answered.values()), list(self._bought.values())
        self._answered.clear()
        self._bought.clear()
        for attempt in answered:
            self._spawn(self._store(attempt))
        if bought:
            self._spawn(self._store_purchases(bought))
        if self._runs:
            await asyncio.wait(self._runs)
        await self._record.aclose()

    def begin(self, row: NotifyRow) -> None:
        """The partner is being called."""
        if not row.refund_id:
            self._calling.add(row.order_id)

    async def answered(self, attempt: Attempt) -> None:
        """Record an attempt, with its order's purchase if that is made, or about to be."""
        order_id = attempt.row.order_id
        if not attempt.row.refund_id:
            self._calling.discard(order_id)
            purchase = self._bought.pop(order_id, None)
            cover = self._context.memory.cover(order_id)
            if purchase is None and cover is not None and cover.open > 1:
                self._answered[order_id] = attempt
                asyncio.get_running_loop().call_later(TOGETHER_S, self._answered_alone, attempt)
                return
            attempt = msgspec.structs.replace(attempt, purchase=purchase)
        await self._store(attempt)

    async def bought(
        self, purchases: Sequence[Purchase], over: Sequence[Task[kinds.DeliveryStep]]
    ) -> None:
        """Record purchases, with the notifies that wait for them; those whose partner is called wait for it.

        `over`: tasks that end without one.
        """
        now: list[Purchase] = []
        later: list[Purchase] = []
        answered: list[Attempt] = []
        for one in purchases:
            if one.order_id in self._calling and one.order_id not in self._bought:
                one.task.detach()
                self._bought[one.order_id] = one
                later.append(one)
            else:
                now.append(one)
                if (attempt := self._answered.pop(one.order_id, None)) is not None:
                    answered.append(attempt)
        if later:
            asyncio.get_running_loop().call_later(TOGETHER_S, self._bought_alone, later)
        try:
            await self._write(answered, now, over)
        except BaseException:
            for attempt in answered:
                self._spawn(self._store(attempt))
            raise

    def _answered_alone(self, attempt: Attempt) -> None:
        if self._answered.get(attempt.row.order_id) is attempt:
            del self._answered[attempt.row.order_id]
            self._spawn(self._store(attempt))

    def _bought_alone(self, purchases: Sequence[Purchase]) -> None:
        left = [one for one in purchases if self._bought.get(one.order_id) is one]
        for one in left:
            del self._bought[one.order_id]
        if left:
            self._spawn(self._store_purchases(left))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        run = asyncio.create_task(work, name="endings", context=contextvars.Context())
        self._runs.add(run)
        run.add_done_callback(self._runs.discard)

    async def _store(self, attempt: Attempt) -> None:
        purchase = attempt.purchase
        tasks = [attempt.task] if purchase is None else [attempt.task, purchase.task]
        await self._or_again(self._record(attempt), tasks)

    async def _store_purchases(self, purchases: Sequence[Purchase]) -> None:
        await self._or_again(self._write([], purchases, ()), [one.task for one in purchases])

    async def _or_again(self, recorded: Awaitable[None], tasks: Sequence[Task[Any]]) -> None:
        try:
            await recorded
        except Exception as error:  # noqa: BLE001 - the tasks come again after their interval
            _log.error("notify_failed", task_ids=[task.id for task in tasks], exc_info=True)
            for task in tasks:
                if isinstance(error, Unavailable | DBAPIError | OSError | TimeoutError):
                    task.retry_after(AWAY_S)
                if (worker := self._context.app.worker) is not None:
                    worker.nack(task)

    async def _record_batch(self, attempts: Sequence[Attempt]) -> list[Exception | None]:
        """Retry storing the attempts when the database is away, instead of resending the notifies."""
        purchases = [one.purchase for one in attempts if one.purchase is not None]
        await self._write(attempts, purchases, ())
        return [None] * len(attempts)

    async def _write(
        self,
        attempts: Sequence[Attempt],
        purchases: Sequence[Purchase],
        over: Sequence[Task[kinds.DeliveryStep]],
    ) -> None:
        if not (attempts or purchases or over):
            return
        await retry(lambda: self._write_once(attempts, purchases, over))
        for one in attempts:
            _measure(one, self._context.app.clock.now())
        for one in purchases:
            self._context.memory.ended(one.order_id, one.part.delivery_id)
        for task in over:
            self._context.memory.ended(task.payload.order_id, task.payload.delivery_id)

    async def _write_once(
        self,
        attempts: Sequence[Attempt],
        purchases: Sequence[Purchase],
        over: Sequence[Task[kinds.DeliveryStep]],
    ) -> None:
        app = self._context.app
        async with app.work("order.notify") if attempts else app.work("order.up_pay") as work:
            ids = work.ids.take(len(attempts))
            rows = [
                _recorded(one, attempt_id) for one, attempt_id in zip(attempts, ids, strict=True)
            ]
            paid = {one.part.delivery_id: one for one in purchases}
            owed, moved = await store.advance_endings(
                work.db, rows, {i: one.order_id for i, one in paid.items()}
            )
            for delivery_id in sorted(moved):
                _publish_paid(work, paid[delivery_id])
            for one, result in zip(attempts, rows, strict=True):
                work.tasks.finish(one.task)
                if one.row.notify_id not in owed:
                    continue
                if result.acknowledged:
                    _publish_acknowledged(work, one.row)
                elif one.skipped:
                    continue
                else:
                    self._try_again(work, one, result.answer)
            work.tasks.finish(*(one.task for one in purchases), *over)

    def _try_again(self, work: UnitOfWork, one: Attempt, answer: str) -> None:
        count, waits = one.row.notify_count + 1, self._context.settings.notify_waits_s
        if count >= one.row.max_count:
            _log.warning("notify_given_up", notify_id=one.row.notify_id, answer=answer)
            return
        wait_s = waits[min(count, len(waits)) - 1]
        work.tasks.add(
            one.task.kind,
            one.task.payload,
            order_no=one.task.order_no,
            queue=one.task.queue,
            delay_s=wait_s * random.uniform(0.9, 1.1),
        )


def _recorded(one: Attempt, attempt_id: int) -> store.NotifyAttempt:
    outcome = one.outcome
    if isinstance(outcome, Answered):
        status = outcome.status
        answer = NOT_KEPT if one.with_cards else outcome.body.decode("utf-8", "replace")
    else:
        status, answer = 0, outcome.reason
    return store.NotifyAttempt(
        one.row.notify_id,
        one.row.order_id,
        attempt_id,
        one.acknowledged,
        status,
        answer.replace("\0", "")[:ANSWER_CHARS_MAX],
        one.took_ms,
        one.row.notify_count,
        int(one.row.refund_status if one.row.refund_id else one.row.order_status),
        one.row.fail_code,
        one.row.fail_msg,
        one.skipped,
    )


def _measure(one: Attempt, now: datetime) -> None:
    """Count a first notify: its delay since the step that ended its order, and the order's whole way."""
    row, answered = one.row, one.acknowledged
    if one.skipped or row.notify_count:
        return
    delay_s = max(0.0, (now - time_of(one.task.id)).total_seconds())
    NOTIFY_DELAY_SECONDS("acknowledged" if answered else "not").observe(delay_s)
    if answered and not row.refund_id:
        outcome = OUTCOMES.get(row.order_status, "failed")
        seconds = max(0.0, (now - time_of(row.order_id)).total_seconds())
        ORDER_NOTIFIED_SECONDS(outcome).observe(seconds)


def _publish_acknowledged(work: UnitOfWork, row: NotifyRow) -> None:
    if row.refund_id:
        events.refund_event(work, "notified", row, row.refund_status, events.REFUND_NOTIFY)
    else:
        status = OrderStatus(row.order_status)
        events.order_event(work, "notified", row, status, events.NOTIFY)


def _publish_paid(work: UnitOfWork, one: Purchase) -> None:
    part = one.part
    text = f"{micros_to_yuan(part.cost_amount_micros)} 元"
    events.order_event(
        work,
        "up_paid",
        one.order,
        OrderStatus.SUCCEEDED,
        events.UP_PAY,
        text,
        delivery_id=part.delivery_id,
    )
