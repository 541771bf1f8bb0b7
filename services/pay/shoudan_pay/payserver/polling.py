"""Pays and refunds nobody knows the end of: called for the first time, or asked about, until they end."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from shoudan_kit import log
from shoudan_kit.limits.bulkhead import Admission, Bulkhead, Limits, Party
from shoudan_kit.service import App
from shoudan_kit.tasks.kinds import Kind, Task
from shoudan_pay.config import PaySettings
from shoudan_pay.payserver import states
from shoudan_pay.payserver.components import Components
from shoudan_pay.payserver.kinds import ASK_PAY, ASK_REFUND, Ask
from shoudan_pay.payserver.pays import Pays
from shoudan_pay.payserver.protocol import AnswerKind, ComponentAnswer
from shoudan_pay.payserver.refunds import Refunds
from shoudan_pay.payserver.settlement import Settlement, failed
from shoudan_pay.payserver.states import PayStatus, RefundStatus, Sent, SentEvent
from shoudan_pay.payserver.store import modes as mode_store
from shoudan_pay.payserver.store import pays as pay_store
from shoudan_pay.payserver.store import refunds as refund_store
from shoudan_pay.payserver.store.modes import Usable
from shoudan_pay.payserver.store.pays import PayOrder
from shoudan_pay.payserver.store.refunds import RefundOrder

STEP_S: Final = 2.0
OFTEN_MAX: Final = 60  # questions at the documented pace; after ten minutes once a minute is enough
SELDOM_S: Final = 60.0
ASKS_MAX: Final = 8  # questions to one component in flight, of each kind
KEPT_FREE: Final = 8  # of the worker's places, for components without a question in flight
BOUNDS: Final = Limits(
    total_max=ASK_PAY.parallel - KEPT_FREE, group_max=ASKS_MAX, party_max=ASKS_MAX, reserve=1
)
EXPIRED: Final = "expired"
LOST: Final = "not received by the component"
# A refund has no expiry of its own: after so long its end is a person's matter, and asked about all the same.
RUNNING_WITHIN: Final = timedelta(days=7)
ASKED_WITHIN: Final = timedelta(days=1)

_log = log.get_logger("payserver")


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
        self._asks = {kind.name: Bulkhead(BOUNDS) for kind in (ASK_PAY, ASK_REFUND)}

    async def pay(self, task: Task[Ask]) -> None:
        """Bring one pay nearer to its end."""
        number = task.payload.traction_no
        if self._pays.calling(number):
            task.retry_after(STEP_S)
            return
        async with self._app.db.connect() as db:
            pay = (await pay_store.by_number(db, [number])).get(number)
            now = await pay_store.now(db)
            usable = (
                (await mode_store.usable(db, [pay.mode_uuid])).get(pay.mode_uuid) if pay else None
            )
        if pay is None or usable is None or PayStatus(pay.status) not in states.OPEN_PAYS:
            await self._finish(task)
            return
        expired = now > pay.expire_time
        if pay.sent == Sent.NOT and expired:
            await self._settlement.pay(number, ComponentAnswer(AnswerKind.FAILED, reason=EXPIRED))
            return
        if not self._enter(ASK_PAY, usable):
            task.retry_after(self._pace(task), "component busy")
            return
        try:
            heard = await self._ask_pay(pay, usable)
        finally:
            self._leave(ASK_PAY, usable)
        late = (now - pay.pay_start_time).total_seconds() > self._app.settings.component_lost_s
        if heard.word is AnswerKind.NOT_FOUND and late:
            heard = failed(heard, LOST)
        # Its component says, after the end of the order, that it is not paid: that is an answer.
        elif expired and heard.word in {AnswerKind.RUNNING, AnswerKind.NOT_FOUND}:
            heard = failed(heard, EXPIRED)
        after = await self._pays.heard(pay, heard)
        if PayStatus(after.status) not in states.OPEN_PAYS:
            return
        asks = after.sent == Sent.NOT or _can_be_asked(usable)
        counted_on = asks or after.sent == Sent.HEARD
        until = pay.expire_time if counted_on else self._lost_at(pay.pay_start_time)
        if now > until and not after.parked:
            async with self._app.work("payserver_park") as work:
                await pay_store.park(work.db, {number: _unknown(after.sent, asks=asks)})
            _log.error("pay_parked", traction_no=number)
        await self._next(task, asks=asks, left=until - now)

    async def refund(self, task: Task[Ask]) -> None:
        """Bring one refund nearer to its end."""
        number = task.payload.traction_no
        if self._refunds.calling(number):
            task.retry_after(STEP_S)
            return
        async with self._app.db.connect() as db:
            refund = (await refund_store.by_number(db, [number])).get(number)
            now = await pay_store.now(db)
        if refund is None or RefundStatus(refund.status) not in states.OPEN_REFUNDS:
            await self._finish(task)
            return
        async with self._app.db.connect() as db:
            pay = (await pay_store.by_number(db, [refund.pay_traction_no]))[refund.pay_traction_no]
            usable = (await mode_store.usable(db, [refund.mode_uuid]))[refund.mode_uuid]
        if not self._enter(ASK_REFUND, usable):
            task.retry_after(self._pace(task), "component busy")
            return
        try:
            heard = await self._ask_refund(refund, pay, usable)
        finally:
            self._leave(ASK_REFUND, usable)
        late = (now - refund.start_time).total_seconds() > self._app.settings.component_lost_s
        if heard.word is AnswerKind.NOT_FOUND and late:
            heard = failed(heard, LOST)
        after = await self._refunds.heard(refund, heard)
        if RefundStatus(after.status) not in states.OPEN_REFUNDS:
            return
        asks = after.sent == Sent.NOT or _can_be_asked(usable)
        if after.sent == Sent.HEARD:
            until = refund.start_time + RUNNING_WITHIN
        else:
            until = refund.start_time + ASKED_WITHIN if asks else self._lost_at(refund.start_time)
        if now > until and not after.parked:
            async with self._app.work("payserver_park") as work:
                await refund_store.park(work.db, {number: _unknown(after.sent, asks=asks)})
            _log.error("refund_parked", traction_no=number)
        await self._next(task, asks=asks, left=until - now)

    def _enter(self, kind: Kind[Any], usable: Usable) -> bool:
        """Whether this component has a place for another question now; the worker's are for all."""
        return self._asks[kind.name].enter(_party(usable), 0.0) is Admission.GO

    def _leave(self, kind: Kind[Any], usable: Usable) -> None:
        # Answered or not: how often a component is asked is `_pace`, it takes no rest beside it.
        self._asks[kind.name].leave(_party(usable), 0.0, answered=True)

    async def _ask_pay(self, pay: PayOrder, usable: Usable) -> ComponentAnswer:
        """Call it for the first time, query it, or call it again if its component allows that."""
        number = pay.traction_no
        if pay.sent == Sent.NOT:
            async with self._app.work("payserver_sent") as work:
                mine = await pay_store.mark_sent(work.db, number, SentEvent.CALLED)
            if not mine:
                return ComponentAnswer(AnswerKind.UNKNOWN, why="another process asks")
            return await self._components.pay(pay, usable)
        if usable.terms.query_url:
            return _unsure(await self._components.query(number, usable))
        if usable.terms.repeatable:
            return _unsure(await self._components.pay(pay, usable))
        return ComponentAnswer(AnswerKind.UNKNOWN, why="cannot be asked")

    async def _ask_refund(
        self, refund: RefundOrder, pay: PayOrder, usable: Usable
    ) -> ComponentAnswer:
        """The same for a refund."""
        number = refund.traction_no
        if refund.sent == Sent.NOT:
            async with self._app.work("payserver_sent") as work:
                mine = await refund_store.mark_sent(work.db, number, SentEvent.CALLED)
            if not mine:
                return ComponentAnswer(AnswerKind.UNKNOWN, why="another process asks")
            return await self._components.refund(refund, pay, usable)
        if usable.terms.query_url:
            return _unsure(await self._components.query(number, usable))
        if usable.terms.repeatable:
            return _unsure(await self._components.refund(refund, pay, usable))
        return ComponentAnswer(AnswerKind.UNKNOWN, why="cannot be asked")

    async def _finish(self, task: Task[Ask]) -> None:
        async with self._app.work("payserver_ask") as work:
            work.tasks.finish(task)

    async def _next(self, task: Task[Ask], *, asks: bool, left: timedelta) -> None:
        """What can be asked is asked on, a person waiting or not; what cannot, waits for its notify."""
        if asks:
            task.retry_after(self._pace(task))
        elif left > timedelta():
            task.retry_after(left.total_seconds() + 1)
        else:
            await self._finish(task)

    def _lost_at(self, began: datetime) -> datetime:
        """Until when an answer that did not come may still come by notify before a person is asked."""
        return began + timedelta(seconds=self._app.settings.component_lost_s)

    def _pace(self, task: Task[Any]) -> float:
        """Two seconds, growing to the documented ten, after many questions a minute."""
        if task.count > OFTEN_MAX:
            return SELDOM_S
        return min(STEP_S * task.count, self._app.settings.component_poll_s)


def _party(usable: Usable) -> Party:
    """The component asked: where it is queried, else where it is called."""
    url = usable.terms.query_url or usable.terms.pay_url or usable.terms.refund_url or ""
    host = urlsplit(url).netloc or url
    return host, host


def _unsure(heard: ComponentAnswer) -> ComponentAnswer:
    """A question that did not leave us says nothing about the call that went before."""
    return (
        ComponentAnswer(AnswerKind.UNKNOWN, why=heard.why)
        if heard.word is AnswerKind.NOT_SENT
        else heard
    )


def _can_be_asked(usable: Usable) -> bool:
    return bool(usable.terms.query_url) or usable.terms.repeatable


def _unknown(sent: str, *, asks: bool) -> str:
    """Why a person is asked; a late answer of the component ends it all the same."""
    if sent == Sent.NOT:
        return "its component cannot be reached"
    if asks and sent == Sent.MAYBE:
        return "its component did not answer, and tells no end when it is asked"
    if sent == Sent.HEARD:
        return "its component said running and told no end"
    return "its component did not answer, and cannot be asked"
