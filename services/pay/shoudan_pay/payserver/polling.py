"""Pays and refunds with an unknown result: called for the first time, or queried, until they end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from shoudan_kit import log
from shoudan_kit.limits.bulkhead import Admission, Limits, Party
from shoudan_kit.limits.shared_bulkhead import SharedBulkhead
from shoudan_kit.service import App
from shoudan_kit.tasks.kinds import Task
from shoudan_pay.config import PaySettings
from shoudan_pay.payserver.acceptance import Acceptance
from shoudan_pay.payserver.components import Components
from shoudan_pay.payserver.kinds import ASK_PAY, ASK_REFUND, Ask
from shoudan_pay.payserver.pays import Pays
from shoudan_pay.payserver.protocol import AnswerKind, ComponentAnswer
from shoudan_pay.payserver.refunds import Refunds
from shoudan_pay.payserver.settlement import PAYS, REFUNDS, OrderKind, Settlement, failed
from shoudan_pay.payserver.states import Event, Sent, SentEvent
from shoudan_pay.payserver.store import modes as mode_store
from shoudan_pay.payserver.store import pays as pay_store
from shoudan_pay.payserver.store.modes import Usable
from shoudan_pay.payserver.store.orders import Order
from shoudan_pay.payserver.store.pays import PayOrder
from shoudan_pay.payserver.store.refunds import RefundOrder

STEP_S: Final = 2.0
OFTEN_MAX: Final = 60  # queries at the documented pace; after ten minutes once a minute is enough
SELDOM_S: Final = 60.0
ASKS_MAX: Final = 8  # queries to one component in flight, of each kind
KEPT_FREE: Final = 8  # of the worker's places, for components without a query in flight
BOUNDS: Final = Limits(
    total_max=ASK_PAY.parallel - KEPT_FREE, group_max=ASKS_MAX, party_max=ASKS_MAX, reserve=1
)
EXPIRED: Final = "expired"
LOST: Final = "not received by the component"
# A refund has no expiry of its own: after so long it is parked, and queried all the same.
RUNNING_WITHIN: Final = timedelta(days=7)
ASKED_WITHIN: Final = timedelta(days=1)

_log = log.get_logger("payserver")

T = TypeVar("T", bound=Order)
Send = Callable[[], Awaitable[ComponentAnswer]]


class Polling:
    """What the tasks ASK_PAY and ASK_REFUND do."""

    def __init__(
        self,
        app: App[PaySettings],
        components: Components,
        settlement: Settlement,
        pays: Pays,
        refunds: Refunds,
    ) -> None:
        self._app, self._components, self._settlement = app, components, settlement
        self._pays, self._refunds = pays, refunds
        self.asks = {
            kind.name: SharedBulkhead(BOUNDS, components.shares, f"{kind.name} ")
            for kind in (ASK_PAY, ASK_REFUND)
        }

    async def pay(self, task: Task[Ask]) -> None:
        """Call or query the component of one pay."""
        await self._poll(task, PAYS, self._pays)

    async def refund(self, task: Task[Ask]) -> None:
        """The same for a refund."""
        await self._poll(task, REFUNDS, self._refunds)

    async def _poll(self, task: Task[Ask], own: OrderKind[T], accepted: Acceptance[Any, T]) -> None:
        number = task.payload.traction_no
        if accepted.calling(number):
            task.retry_after(STEP_S)
            return
        async with self._app.db.connect() as db:
            order = (await own.orders.by_number(db, [number])).get(number)
            now = await pay_store.now(db)
            pay = await _pay_of(db, order)
            modes = [] if pay is None else [pay.mode_uuid]
            usable = (await mode_store.usable(db, modes)).get(pay.mode_uuid) if pay else None
        if order is None or pay is None or usable is None or not _open(own, order):
            await self._finish(task)
            return
        expired = order is pay and now > pay.expire_time
        if order.sent == Sent.NOT and expired:
            answer = ComponentAnswer(AnswerKind.FAILED, reason=EXPIRED)
            await self._settlement.settle(own, number, answer)
            return
        party, asks = _party(usable), self.asks[own.task.name]
        if asks.enter(party, self._app.clock.monotonic()) is not Admission.GO:
            task.retry_after(self._pace(task), "component busy")
            return
        try:
            answer = await self._ask(own, order, self._send(order, pay, usable), usable)
        finally:
            # Answered or not: `_pace` spaces the queries, so that the component takes no rest beside it.
            asks.leave(party, self._app.clock.monotonic(), answered=True)
        late = (now - order.called_at).total_seconds() > self._app.settings.component_lost_s
        if answer.word is AnswerKind.NOT_FOUND and late:
            answer = failed(answer, LOST)
        # Its component says, after the end of the order, that it is not paid: that is an answer.
        elif expired and answer.word in {AnswerKind.RUNNING, AnswerKind.NOT_FOUND}:
            answer = failed(answer, EXPIRED)
        after = await accepted.apply(order, answer)
        if _open(own, after):
            await self._still_open(task, own, after, usable, now)

    async def _still_open(
        self, task: Task[Ask], own: OrderKind[T], order: T, usable: Usable, now: datetime
    ) -> None:
        """Park an order whose result has been unknown for too long; query again what can be queried."""
        asks = order.sent == Sent.NOT or _can_be_asked(usable)
        until = self._until(order, asks=asks)
        if now > until and not order.parked:
            async with self._app.work("payserver_park") as work:
                reason = _unknown(order.sent, asks=asks)
                await own.orders.park(work.db, {order.traction_no: reason})
            _log.error(own.parked, traction_no=order.traction_no)
        # A component that cannot be queried may still send its notify, until then.
        if asks:
            task.retry_after(self._pace(task))
        elif until > now:
            task.retry_after((until - now).total_seconds() + 1)
        else:
            await self._finish(task)

    def _until(self, order: Order, *, asks: bool) -> datetime:
        """When a person is to look at an order that has no result."""
        running = order.sent == Sent.ANSWERED
        if isinstance(order, PayOrder) and (asks or running):
            return order.expire_time
        if running:
            return order.called_at + RUNNING_WITHIN
        if asks:
            return order.called_at + ASKED_WITHIN
        return order.called_at + timedelta(seconds=self._app.settings.component_lost_s)

    def _send(self, order: Order, pay: PayOrder, usable: Usable) -> Send:
        """The call that pays, or gives back."""
        if isinstance(order, RefundOrder):
            refund = order
            return lambda: self._components.refund(refund, pay, usable)
        return lambda: self._components.pay(pay, usable)

    async def _ask(
        self, own: OrderKind[T], order: T, send: Send, usable: Usable
    ) -> ComponentAnswer:
        """Call the component for the first time, query it, or call it again if it is repeatable."""
        if order.sent == Sent.NOT:
            async with self._app.work("payserver_sent") as work:
                mine = await own.orders.mark_sent(work.db, order.traction_no, SentEvent.CALLED)
            if not mine:
                return ComponentAnswer(AnswerKind.UNKNOWN, why="another process asks")
            return await send()
        if usable.terms.query_url:
            answer = await self._components.query(order.traction_no, usable)
        elif usable.terms.repeatable:
            answer = await send()
        else:
            return ComponentAnswer(AnswerKind.UNKNOWN, why="cannot be asked")
        # A query that was not sent says nothing about the call before it.
        unsent = answer.word is AnswerKind.NOT_SENT
        return ComponentAnswer(AnswerKind.UNKNOWN, why=answer.why) if unsent else answer

    async def _finish(self, task: Task[Ask]) -> None:
        async with self._app.work("payserver_ask") as work:
            work.tasks.finish(task)

    def _pace(self, task: Task[Any]) -> float:
        """Two seconds, growing to the documented ten, after many queries a minute."""
        if task.count > OFTEN_MAX:
            return SELDOM_S
        return min(STEP_S * task.count, self._app.settings.component_poll_s)


async def _pay_of(db: Any, order: Order | None) -> PayOrder | None:
    """A pay itself, or the pay of a refund."""
    if isinstance(order, RefundOrder):
        number = order.pay_traction_no
        return (await pay_store.by_number(db, [number])).get(number)
    return order if isinstance(order, PayOrder) else None


def _open(own: OrderKind[T], order: T) -> bool:
    return own.machine.allows(order.status, Event.SUCCEEDED)


def _party(usable: Usable) -> Party:
    """The component asked: where it is queried, else where it is called."""
    url = usable.terms.query_url or usable.terms.pay_url or usable.terms.refund_url or ""
    host = urlsplit(url).netloc or url
    return host, host


def _can_be_asked(usable: Usable) -> bool:
    return bool(usable.terms.query_url) or usable.terms.repeatable


def _unknown(sent: str, *, asks: bool) -> str:
    """Why an order is parked; a late answer of its component ends it all the same."""
    if sent == Sent.NOT:
        return "its component cannot be reached"
    if asks and sent == Sent.MAYBE:
        return "its component did not answer, and tells no end when it is asked"
    if sent == Sent.ANSWERED:
        return "its component answered running and reported no end"
    return "its component did not answer, and cannot be asked"
