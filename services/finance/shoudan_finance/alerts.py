"""Alerts of low balances: crossings that the ledger announces, sent to the channel and the staff.

The ledger judges thresholds as it posts, under the account's lock; here a crossing is stored once by its key,
and each target has a task of its own, which lives until the target has it. Nothing is lost with an event:
the look that follows the ledger's days compares the thresholds as they stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from grpc import aio

from shoudan.core.v1 import core_pb2
from shoudan.pay.v1 import events_pb2
from shoudan_finance import alert_messages
from shoudan_finance.alert_messages import Message
from shoudan_finance.alert_targets import PARTNER
from shoudan_finance.context import Context
from shoudan_finance.kinds import SEND_ALERT, SendAlert
from shoudan_finance.order_client import NoticeOutcome
from shoudan_finance.pay_client import Spending
from shoudan_finance.refusals import TargetNotFound
from shoudan_finance.store import alerts as store
from shoudan_finance.store.alerts import Edge, Locked, Route, RouteKey
from shoudan_kit import faults, log, metrics
from shoudan_kit.rpc.refusal import Refused
from shoudan_kit.tasks.kinds import Task
from shoudan_kit.tasks.unit_of_work import UnitOfWork

EVENTS: Final = "shoudan.events.pay.account.*"  # of the pay service
SUBJECTS: Final = ("shoudan.events.pay.account.low", "shoudan.events.pay.account.recovered")
CONSUMER: Final = "finance-alerts"
CHANNEL_GROUPS: Final = "down_"  # accounts of channels; others are no business of theirs
GIVE_UP: Final = timedelta(days=3)
SOON_S: Final = 0.01
NO_ADDRESS: Final = "no address"
GIVEN_UP: Final = "given up"

SENT: Final = metrics.counter(
    "finance_alerts_total",
    "Attempts to send a crossing of a balance's threshold, by kind of target and outcome.",
    ("target", "outcome"),
)

_log = log.get_logger("finance")


# ------------------------------------------------------------ hearing
async def heed_events(context: Context) -> None:
    """Store crossings as the ledger announces them."""

    async def crossed(events: Sequence[core_pb2.Event]) -> None:
        await note(context, [_edge(one) for one in events if one.subject in SUBJECTS])

    await context.app.bus.consume(CONSUMER, EVENTS, crossed)


def _edge(event: core_pb2.Event) -> Edge:
    body = events_pb2.BalanceAlert.FromString(event.body)
    return Edge(
        account_id=body.account_id,
        threshold_micros=body.threshold_micros,
        seq=body.seq,
        ident=body.ident or "oms",  # of a version that did not say it
        groups=body.groups,
        eid=body.eid,
        low=body.low or event.subject == SUBJECTS[0],
        balance_micros=body.balance_micros,
        edge_time=event.time.ToDatetime(UTC),
    )


async def look(context: Context) -> None:
    """`complete`, or again at the next look when the ledger is away."""
    try:
        await complete(context)
    except aio.AioRpcError as error:
        _log.info("ledger_away", code=error.code().name)


async def complete(context: Context) -> None:
    """Store what events did not bring: every threshold as it stands. Raises grpc.RpcError."""
    now = context.app.clock.now()
    async for found in context.pay.alerts(now):
        await note(context, found)


async def note(context: Context, edges: Sequence[Edge]) -> None:
    """Store crossings; each that is new is sent to its targets."""
    if not edges:
        return
    async with context.app.work("finance.note_alerts") as work:
        for edge in sorted(await store.note(work.db, edges), key=lambda one: one.key):
            for target in _targets(context, edge):
                key = RouteKey(edge.account_id, edge.threshold_micros, target)
                await store.add(work.db, key)
                _add_task(work, key)


def _targets(context: Context, edge: Edge) -> list[str]:
    """Sorted, so that transactions lock routes in one order."""
    names = [one.name for one in context.targets.values() if one.wants(edge.groups)]
    if _is_channels(context, edge):
        names.append(PARTNER)
    return sorted(names)


def _is_channels(context: Context, edge: Edge) -> bool:
    return edge.ident == context.app.settings.trade_ident and edge.groups.startswith(CHANNEL_GROUPS)


def _add_task(work: UnitOfWork, key: RouteKey) -> None:
    step = SendAlert(key.account_id, key.threshold_micros, key.target)
    order_no = f"{key.account_id}:{key.threshold_micros}:{key.target}"
    work.tasks.add(SEND_ALERT, step, order_no=order_no, delay_s=SOON_S)


# ------------------------------------------------------------ deciding
@dataclass(frozen=True, slots=True)
class Decision:
    """What is done about the crossings a target was not notified of."""

    passed_seq: int | None = None  # up to which they are no news
    edge: Edge | None = None  # the one to send
    wait_s: float | None = None  # how long the next one has to wait


def decide(route: Route, edges: Sequence[Edge], now: datetime, cooldown: timedelta) -> Decision:
    """The next crossing to send.

    A low balance is sent once in `cooldown`: one that has recovered within it is no news, and its recovery
    is none. A recovery waits for nothing.
    """
    passed: int | None = None
    rest = list(edges)
    while rest:
        first = rest[0]
        left = (route.low_time or now - cooldown) + cooldown - now
        if first.low == route.notified_low:  # also a recovery of what was never sent
            passed = rest.pop(0).seq
        elif not first.low or left <= timedelta():
            return Decision(passed, first)
        elif len(rest) > 1:
            passed = rest[1].seq
            del rest[:2]
        else:
            return Decision(passed, wait_s=left.total_seconds())
    return Decision(passed)


# ------------------------------------------------------------ sending
async def send(context: Context, task: Task[SendAlert]) -> None:
    """Send a target the next crossing of a threshold; the task ends when there is none."""
    step = task.payload
    key = RouteKey(step.account_id, step.threshold_micros, step.target)
    cooldown = timedelta(seconds=context.app.settings.alert_cooldown_s)
    async with context.app.work("finance.alert_due") as work:
        locked = await store.lock(work.db, key)
        decision = decide(locked.route, locked.edges, locked.now, cooldown)
        if decision.passed_seq is not None:
            await store.passed(work.db, key, decision.passed_seq)
        if decision.edge is None:
            if decision.wait_s is None:
                work.tasks.finish(task)
            else:
                task.retry_after(decision.wait_s, "waits: it was low a moment ago")
            return
    await _try(context, task, key, locked, decision.edge)


async def _try(
    context: Context, task: Task[SendAlert], key: RouteKey, locked: Locked, edge: Edge
) -> None:
    refused = await _say(context, key.target, edge)
    faults.hit("finance.alert_sent")
    kind = PARTNER if key.target == PARTNER else _kind(context, key.target)
    final = refused in {"", NO_ADDRESS}
    if not final and locked.now - edge.edge_time > GIVE_UP:
        refused, final = f"{GIVEN_UP}: {refused}", True
    SENT(kind, "sent" if not refused else "refused").inc()
    async with context.app.work("finance.alert_sent") as work:
        if final:
            await store.notified(work.db, key, edge, refused)
            task.retry_after(0)
            return
        await store.refused(work.db, key, refused)
    _log.warning("alert_refused", target=key.target, answer=refused[:64])
    waits = context.app.settings.notice_waits_s
    task.retry_after(waits[min(locked.route.tries, len(waits) - 1)], refused)


def _kind(context: Context, name: str) -> str:
    target = context.targets.get(name)
    return "none" if target is None else target.kind


async def _say(context: Context, name: str, edge: Edge) -> str:
    """Why it did not get there, or nothing when it did."""
    message = alert_messages.of_edge(edge, await _spending(context, edge))
    if name == PARTNER:
        return await to_channel(context, edge.eid, message)
    target = context.targets.get(name)
    if target is None:  # it is configured no more
        return NO_ADDRESS
    return await context.senders.send(target, message)


async def to_channel(context: Context, channel_no: str, message: Message) -> str:
    """Send a channel a notice: why it did not get there, or nothing when it did."""
    try:
        outcome, answer = await context.order.send_notice(channel_no, message.key, message.body())
    except aio.AioRpcError as error:
        return f"order: {error.code().name}"
    if outcome is NoticeOutcome.NO_ADDRESS:
        return NO_ADDRESS
    return "" if outcome is NoticeOutcome.ACKNOWLEDGED else answer or "not acknowledged"


async def _spending(context: Context, edge: Edge) -> Spending | None:
    """What the account spends; an alert is sent without it while the ledger does not say."""
    if not edge.low:
        return None
    try:
        return await context.pay.spending(edge.ident, edge.groups, edge.eid)
    except (aio.AioRpcError, Refused):
        return None


# ------------------------------------------------------------ showing
async def page(context: Context, after: RouteKey, most: int) -> list[Route]:
    """What targets were notified of, by account, threshold and target."""
    async with context.app.db.connect() as db:
        return await store.page(db, after, most)


async def test(context: Context, name: str, channel_no: str) -> str:
    """Send a target a test, or a channel: why it did not get there. Refuses TargetNotFound."""
    message = alert_messages.of_test(name, f"alert_test_{context.app.ids.next()}")
    if name == PARTNER:
        return await to_channel(context, channel_no, message)
    target = context.targets.get(name)
    if target is None:
        raise TargetNotFound(name)
    return await context.senders.send(target, message)
