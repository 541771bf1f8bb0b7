"""Sends endpoints of channels what they are owed, by the calls and limits of notifies, and records it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from shoudan.order.v1 import events_pb2
from shoudan_kit import log, metrics
from shoudan_kit.batch import Coalescer
from shoudan_kit.db.errors import survived
from shoudan_kit.db.pool import retry
from shoudan_kit.http.client import Answered, HttpResult, NotSent
from shoudan_kit.tasks.kinds import Task
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import endpoint_health, events, kinds, notify_words
from shoudan_order.catalogue.model import DownChannel, NotifyEndpoint
from shoudan_order.context import Context
from shoudan_order.endpoint_health import Edge, Result, Threshold
from shoudan_order.endpoint_states import EndpointState
from shoudan_order.store import endpoints as store
from shoudan_order.store.endpoints import NewNotify, Owed, Tried

_log = log.get_logger("notifies")

GONE: Final = "skipped: the endpoint is switched off in the catalogue"
PAUSED: Final = "skipped: the endpoint is paused"
OFF: Final = "skipped: the endpoint was switched off"
HOST_OFF: Final = "skipped: the host has not answered for long"
ALERTS_TOTAL: Final = metrics.counter(
    "endpoint_alerts_total",
    "Endpoints of channels that began to fail (alert), were switched off, or do well again (recovered).",
    ("what",),
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that has ended, or that was not made."""

    task: Task[kinds.EndpointStep]
    owed: Owed
    outcome: HttpResult
    skipped: bool = False  # kept, to be sent again when asked for

    @property
    def acknowledged(self) -> bool:
        """Whether the endpoint has taken it."""
        return notify_words.acknowledged(self.outcome)


@dataclass(slots=True)
class Sending:
    """One notify on its way; what the calls of notifies work with."""

    notices: EndpointNotices
    task: Task[kinds.EndpointStep]
    owed: Owed
    endpoint: NotifyEndpoint
    channel: DownChannel
    outcome: HttpResult = field(default_factory=lambda: NotSent(HOST_OFF))

    @property
    def party(self) -> tuple[str, str]:
        """Whose calls it counts among: its channel's to this host."""
        return self.channel.channel_no, urlsplit(self.endpoint.url).netloc

    async def send(self) -> bool | None:
        """Make the call; whether the host answered."""
        self.outcome = await posted(
            self.notices.context, self.endpoint, self.channel, (self.owed.event_key, self.owed.body)
        )
        return isinstance(self.outcome, Answered)

    async def record(self) -> None:
        """Store what came of it."""
        await self.notices.ended(Attempt(self.task, self.owed, self.outcome))

    async def skip(self) -> None:
        """Keep it unsent: its host is off."""
        await self.notices.ended(Attempt(self.task, self.owed, NotSent(HOST_OFF), skipped=True))


class EndpointNotices:
    """What endpoints are sent from this process, and the batches in which it is recorded."""

    def __init__(self, context: Context) -> None:
        self.context = context
        for what in ("alert", "off", "recovered"):  # a counter that begins at 1 shows no increase
            ALERTS_TOTAL(what).inc(0)
        self._record: Coalescer[Attempt, None] = Coalescer(
            self._record_batch,
            name="endpoint.record",
            size_max=200,
            linger_s=0.005,
            slots=context.app.db.slots,
        )

    def begin(
        self,
        task: Task[kinds.EndpointStep],
        owed: Owed,
        endpoint: NotifyEndpoint,
        channel: DownChannel,
    ) -> None:
        """Start one call, queue it for its host, or give its task back; never waits."""
        self.context.notifier.begin_call(Sending(self, task, owed, endpoint, channel))

    async def aclose(self) -> None:
        """Record what waits."""
        await self._record.aclose()

    async def ended(self, attempt: Attempt) -> None:
        """Record an attempt; where that cannot be done its task comes again."""
        with survived(_log, "endpoint_notify_failed"):
            await self._record(attempt)
        if not attempt.task.finished and (worker := self.context.app.worker) is not None:
            worker.nack(attempt.task)

    async def _record_batch(self, attempts: Sequence[Attempt]) -> list[Exception | None]:
        await retry(lambda: record(self.context, attempts))
        return [None] * len(attempts)


async def send(context: Context, tasks: Sequence[Task[kinds.EndpointStep]]) -> None:
    """Start the calls that are due; end the tasks of those that are over, keep what is not to be sent now."""
    steps = [task.payload for task in tasks]
    async with context.app.work("endpoint.begin") as work:
        ids = work.ids.take(len(steps))
        news = [_new(context, one, at) for one, at in zip(steps, ids, strict=True)]
        found = await store.begin(
            work.db, list({(n.endpoint_no, n.event_key): n for n in news}.values())
        )
        begun: set[int] = set()
        going: list[tuple[Task[kinds.EndpointStep], Owed, NotifyEndpoint, DownChannel]] = []
        left: list[Attempt] = []
        for task in tasks:
            owed = found[task.payload.endpoint_no, task.payload.event_key]
            if owed.over or owed.notify_id in begun:
                work.tasks.finish(task)
                continue
            begun.add(owed.notify_id)
            where = _where(context, owed)
            if isinstance(where, str):
                left.append(Attempt(task, owed, NotSent(where), skipped=True))
            else:
                going.append((task, owed, *where))
    if left:
        await record(context, left)
    for one in going:
        context.endpoint_notices.begin(*one)


def _new(context: Context, step: kinds.EndpointStep, notify_id: int) -> NewNotify:
    return NewNotify(
        notify_id,
        step.endpoint_no,
        step.channel_no,
        step.event_key,
        step.event,
        step.body.encode(),
        step.order_id,
        context.settings.notify_count_max,
    )


def _where(context: Context, owed: Owed) -> tuple[NotifyEndpoint, DownChannel] | str:
    """Where it is sent, or why it is not now."""
    endpoint = context.catalogue.notify_endpoints.get(owed.endpoint_no)
    channel = context.catalogue.down_channels.get(owed.channel_no)
    if endpoint is None or channel is None or not endpoint.enabled or not channel.enabled:
        return GONE
    if owed.state != EndpointState.ACTIVE:
        return PAUSED if owed.state == EndpointState.PAUSED else OFF
    return endpoint, channel


async def posted(
    context: Context, endpoint: NotifyEndpoint, channel: DownChannel, said: tuple[str, bytes]
) -> HttpResult:
    """Post a body, `said` with its key, to an endpoint once, signed with its own secrets or its channel's."""
    key, body = said
    headers = {"Content-Type": "application/json"}
    if secrets := context.endpoint_secrets(endpoint, channel):
        timestamp = int(context.app.clock.now().timestamp())
        headers |= notify_words.signed(secrets, f"evt_{key}", timestamp, body)
    through = context.notifier.through(channel)
    return await through.send("POST", endpoint.url, headers=headers, body=body)


async def record(context: Context, attempts: Sequence[Attempt]) -> None:
    """Record attempts with how their endpoints do, and make the tasks of those tried again."""
    rows = [_tried(one) for one in attempts]
    settings = context.settings
    threshold = Threshold(settings.endpoint_fails_max, timedelta(seconds=settings.endpoint_dead_s))
    now = context.app.clock.now()
    async with context.app.work("endpoint.notify") as work:
        owners = {one.owed.endpoint_no: one.owed.channel_no for one in attempts}
        healths = await store.lock_health(work.db, owners)
        open_ = await store.record(work.db, rows)
        results: dict[str, list[Result]] = {}
        for one, row in zip(attempts, rows, strict=True):
            if one.owed.notify_id not in open_ or row.acknowledged or row.given_up:
                work.tasks.finish(one.task)
            else:
                one.task.retry_after(_wait_s(context, one), row.answer)
            if one.owed.notify_id not in open_:
                continue
            if row.counted or one.outcome == NotSent(HOST_OFF):
                answer = "" if row.acknowledged else row.answer
                result = Result(row.acknowledged, answer)
                results.setdefault(one.owed.endpoint_no, []).append(result)
        for number, ones in results.items():
            healths[number], edges = endpoint_health.after(healths[number], ones, now, threshold)
            for edge in edges:
                publish(work, edge)
        await store.write_health(work.db, [healths[number] for number in sorted(results)])


def _tried(one: Attempt) -> Tried:
    status, answer = endpoint_health.masked(one.outcome)
    last = not one.skipped and one.owed.tries + 1 >= one.owed.tries_max
    return Tried(
        one.owed.notify_id,
        one.acknowledged,
        not one.skipped,
        one.skipped or (last and not one.acknowledged),
        status,
        "" if one.acknowledged else answer,
        one.owed.tries,
    )


def _wait_s(context: Context, one: Attempt) -> float:
    waits = context.settings.notify_waits_s
    return waits[min(one.owed.tries + 1, len(waits)) - 1] * random.uniform(0.9, 1.1)


def publish(work: UnitOfWork, edge: Edge) -> None:
    """Say once that an endpoint began to fail, was switched off or does well: event, log line, count."""
    one = edge.health
    reason = one.reason if edge.what in {"off", "paused", "resumed"} else one.answer
    body = events_pb2.EndpointChanged(
        endpoint_no=one.endpoint_no,
        channel_no=one.channel_no,
        level=one.alert_level,
        fails=one.fails,
        reason=reason,
    )
    events.endpoint_event(work, edge.what, body, f"{one.alert_level} % of the threshold")
    say = _log.error if edge.what in {"alert", "off"} else _log.info
    say(
        f"endpoint_{edge.what}",
        endpoint_no=one.endpoint_no,
        channel_no=one.channel_no,
        percent=one.alert_level,
        fails=one.fails,
    )
    ALERTS_TOTAL(edge.what).inc()
