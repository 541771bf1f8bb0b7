"""Notifies: POST to channels how their orders and refunds ended, until they acknowledge.

A slow or dead partner delays only its own notifies: handlers start calls and do not wait for them, and
what came of the calls is recorded in batches. Source: 000 §四.6, protocols §5.0 #10, #13, #15.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from shoudan_kit import log, metrics
from shoudan_kit.http.client import Answered, HttpClient, NotSent
from shoudan_kit.http.ssrf import Guard, opened
from shoudan_kit.limits.bulkhead import Admission, Change, Limits, Party, Resting
from shoudan_kit.limits.shared_bulkhead import SharedBulkhead
from shoudan_kit.limits.shares import Shares
from shoudan_kit.tasks.covers import Cover
from shoudan_kit.tasks.kinds import Task
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import endpoint_events, goods_notifies, kinds, notified_cards
from shoudan_order.catalogue.model import DownChannel
from shoudan_order.context import Context, PartnerCall
from shoudan_order.endings import Attempt, Endings
from shoudan_order.notify_words import body_of, signed
from shoudan_order.states import ENDED, NotifyStatus, OrderStatus
from shoudan_order.store import notifies as store
from shoudan_order.store.rows import NotifyRow, Order

_log = log.get_logger("notifies")

IN_FLIGHT_MAX: Final = 2_000  # above any channel's (config.py)
# Beyond the calls in flight so many may wait for one host, and for all; more come again later. Those that
# wait are tasks in memory, so all of them together stay far below what the worker holds (MEMORY_MAX).
HOST_WAITING_MAX: Final = 1_000
WAITING_MAX: Final = 6_000
SKIPPED: Final = "skipped: the host has not answered for long"
LOOPBACK: Final = ("127.0.0.0/8", "::1/128")

_Send = Callable[[Task[kinds.NotifyStep], NotifyRow, Sequence[int]], Awaitable[Attempt]]


def enqueue_notify(
    context: Context,
    work: UnitOfWork,
    order: Order,
    status: OrderStatus,
    code: str,
    message: str,
    cover: Cover | None = None,
) -> None:
    """Owe how an order has just ended: to its notify_url, if it named one, and to its channel's endpoints."""
    endpoint_events.owe_order(context, work, order, status, code, message)
    enqueue_again(context, work, order, status, code, message, cover)


def enqueue_again(
    context: Context,
    work: UnitOfWork,
    order: Order,
    status: OrderStatus,
    code: str,
    message: str,
    cover: Cover | None = None,
) -> None:
    """Add the notify task of an order that has ended, if its request named a notify_url."""
    if order.has_notify:
        context.enqueue(
            work,
            kinds.NOTIFY,
            order.line_id,
            kinds.NotifyStep(order.order_id, 0, int(status), code, message),
            cover=cover,
        )


def as_owed(row: NotifyRow, step: kinds.NotifyStep) -> NotifyRow:
    """The notify with the status it was enqueued for: the order may have been refunded since."""
    if step.status is not None:
        status, code, message = step.status, step.fail_code, step.fail_msg
    elif row.owed_status is not None:
        status, code, message = row.owed_status, row.owed_code, row.owed_msg
    else:  # enqueued by a version that did not store the status
        return row
    if row.refund_id:
        return msgspec.structs.replace(row, refund_status=status)
    return msgspec.structs.replace(
        row, order_status=OrderStatus(status), fail_code=code, fail_msg=message
    )


class _NotifyCall:
    """The notify of an order or refund on its way to its notify_url."""

    __slots__ = ("_attempt", "_endings", "_parts", "_row", "_send", "task")

    def __init__(
        self,
        send: _Send,
        endings: Endings,
        task: Task[kinds.NotifyStep],
        row: NotifyRow,
        parts: Sequence[int],
    ) -> None:
        """`parts`: its deliveries with cards."""
        self._send, self._endings = send, endings
        self.task, self._row, self._parts = task, row, parts
        self._attempt: Attempt | None = None

    @property
    def party(self) -> Party:
        """Its channel, and the host of its notify_url."""
        return self._row.down_channel_no, urlsplit(self._row.notify_url).netloc

    async def send(self) -> bool | None:
        """Make the call; whether the host answered, None when it was not called."""
        self._endings.begin(self._row)
        self._attempt = attempt = await self._send(self.task, self._row, self._parts)
        return None if attempt.withheld else isinstance(attempt.outcome, Answered)

    async def record(self) -> None:
        """Store what came of it."""
        assert self._attempt is not None, "it was sent"
        await self._endings.answered(self._attempt)

    async def skip(self) -> None:
        """Store that it was not sent."""
        skipped = Attempt(self.task, self._row, NotSent(SKIPPED), 0, skipped=True)
        await self._endings.answered(skipped)


class Notifier:
    """Calls in flight to partners: bounded by channel and host, by channel, and in all (docs/bounds.md)."""

    def __init__(self, context: Context, shares: Shares, endings: Endings) -> None:
        """`shares`: what part of the calls to a host, and of a channel, is this process's."""
        self._endings = endings
        settings = context.settings
        self._context = context
        self._http: dict[tuple[str, ...], HttpClient] = {}
        self._bulkhead = SharedBulkhead(
            Limits(
                total_max=IN_FLIGHT_MAX,
                group_max=settings.notify_channel_calls_max,
                party_max=settings.notify_host_calls_max,
                reserve=min(2, settings.notify_host_calls_max),
                off_s=settings.notify_host_off_s,
            ),
            shares,
        )
        self._waiting: dict[Party, deque[PartnerCall]] = {}
        self._waiting_count = 0
        self._off: set[Party] = set()
        self._calls: set[asyncio.Task[None]] = set()
        self._closing = False

    def begin(
        self, task: Task[kinds.NotifyStep], row: NotifyRow, parts: Sequence[int] = ()
    ) -> None:
        """Start the call of a notify, queue it for its host, or give its task back; never waits."""
        self.begin_call(_NotifyCall(self._send, self._endings, task, row, parts))

    def begin_call(self, call: PartnerCall) -> None:
        """Start a call, queue it for its host, or give its task back; never waits."""
        task, party = call.task, call.party
        now = self._context.app.clock.monotonic()
        admission = self._bulkhead.enter(party, now)
        if admission is Admission.GO:
            task.detach()
            self._spawn(self._call(call))
        elif admission is Admission.OFF:
            task.detach()
            self._spawn(self._skip(call))
        elif admission is Admission.FULL and self._may_wait(party):
            task.detach()
            self._waiting.setdefault(party, deque()).append(call)
            self._waiting_count += 1
        else:
            task.retry_after(self._later_s(party, now), f"host {admission.value}")

    async def aclose(self) -> None:
        """Wait for the calls in flight, then close the connections."""
        self._closing = True
        for party in list(self._waiting):
            self._put_back(party)
        if self._calls:
            await asyncio.wait(self._calls, timeout=self._context.settings.notify_timeout_s)
        await self._endings.aclose()
        for http in self._http.values():
            await http.aclose()

    def used(self) -> dict[str, float]:
        """What part of the calls to each host, and of each channel, is in flight from here."""
        return self._bulkhead.used()

    def asked(self, _seconds: float) -> dict[str, float]:
        """What part of them is asked of this process."""
        return self._bulkhead.asked([(party, len(due)) for party, due in self._waiting.items()])

    def _may_wait(self, party: Party) -> bool:
        mine = len(self._waiting.get(party, ()))
        return mine < HOST_WAITING_MAX and self._waiting_count < WAITING_MAX and not self._closing

    def _later_s(self, party: Party, now: float) -> float:
        """Seconds until the host is tried again, with jitter so that its notifies spread out."""
        rest_s = self._bulkhead.rest_left_s(party, now)
        return rest_s + random.uniform(1, 3 + rest_s / 5)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        # In a context of its own: the end of one call starts the next for its host.
        call = asyncio.create_task(work, name="notify", context=contextvars.Context())
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _call(self, call: PartnerCall) -> None:
        answered: bool | None = True
        try:
            answered = await call.send()
        finally:
            # The slot is freed before the answer is stored: kept until then, it would limit the batches
            # of answers to the slots of one host.
            self._ended(call.party, answered=answered)
        await call.record()

    async def _skip(self, call: PartnerCall) -> None:
        """Give up a call without making it: its host is off. An operator can resend it."""
        if call.party not in self._off:
            self._off.add(call.party)
            _log.error("notify_host_off", channel_no=call.party[0], host=call.party[1])
        await call.skip()

    def resting(self) -> list[Resting]:
        """Hosts of partners that do not answer."""
        return self._bulkhead.resting_parties("notify", self._context.app.clock.monotonic())

    def _nack(self, task: Task[Any]) -> None:
        if (worker := self._context.app.worker) is not None:
            worker.nack(task)

    def _ended(self, party: Party, *, answered: bool | None) -> None:
        """Free the slot of a call; start the next for the host, or give its queue back if it rests."""
        now = self._context.app.clock.monotonic()
        change = self._bulkhead.leave(party, now, answered=answered)
        if change is Change.DOWN:
            _log.warning("notify_host_down", channel_no=party[0], host=party[1])
        elif change is Change.UP:
            self._off.discard(party)
            _log.info("notify_host_up", channel_no=party[0], host=party[1])
        if change is not Change.NONE:
            metrics.HOSTS_RESTING("notify").set(self._bulkhead.resting)
        waiting = self._waiting.get(party)
        while waiting:
            admission = self._bulkhead.enter(party, now)
            if admission is Admission.GO:
                self._waiting_count -= 1
                self._spawn(self._call(waiting.popleft()))
            elif admission is Admission.FULL:
                return
            else:
                self._put_back(party)
        self._waiting.pop(party, None)

    def _put_back(self, party: Party) -> None:
        """Give the tasks queued for a host back to the worker."""
        waiting, now = self._waiting.pop(party, deque()), self._context.app.clock.monotonic()
        self._waiting_count -= len(waiting)
        while waiting:
            task = waiting.popleft().task
            task.retry_after(self._later_s(party, now), "host resting")
            self._nack(task)

    async def _send(
        self, task: Task[kinds.NotifyStep], row: NotifyRow, parts: Sequence[int]
    ) -> Attempt:
        clock = self._context.app.clock
        channel = self._context.catalogue.down_channels.get(row.down_channel_no)
        if channel is not None and goods_notifies.speaks(channel):
            return await self._send_goods(task, row, parts, channel)
        cards = await notified_cards.fetched(self._context, channel, row, parts)
        if isinstance(cards, NotSent):
            return Attempt(task, row, cards, 0, withheld=True)
        body = body_of(row, words=channel is not None and channel.word_status, cards=cards)
        headers = {"Content-Type": "application/json"}
        if channel is not None and (secrets := self._context.notify_secrets(channel)):
            timestamp = int(self._context.app.wall_clock.now().timestamp())
            headers |= signed(secrets, f"notify_{row.notify_id}", timestamp, body)
        began = clock.monotonic()
        outcome = await self.through(channel).send(
            "POST", row.notify_url, headers=headers, body=body, trace=task.trace
        )
        took_ms = int((clock.monotonic() - began) * 1000)
        return Attempt(task, row, outcome, took_ms, with_cards=bool(cards))

    async def _send_goods(
        self,
        task: Task[kinds.NotifyStep],
        row: NotifyRow,
        parts: Sequence[int],
        channel: DownChannel,
    ) -> Attempt:
        clock = self._context.app.clock
        made = await goods_notifies.callback(self._context, channel, row, parts)
        if isinstance(made, NotSent):
            return Attempt(task, row, made, 0, withheld=True)
        began = clock.monotonic()
        outcome = await self.through(channel).send(
            "POST",
            made.url,
            headers={"Content-Type": "application/json"},
            body=made.body,
            trace=task.trace,
        )
        took_ms = int((clock.monotonic() - began) * 1000)
        return Attempt(task, row, outcome, took_ms, with_cards=made.with_cards, of_goods=True)

    def through(self, channel: DownChannel | None) -> HttpClient:
        """The HTTP client for a channel: public addresses, and the networks opened for it."""
        settings = self._context.settings
        networks = channel.notify_networks if channel is not None else ()
        if settings.profile != "prod":
            networks = (*networks, *LOOPBACK)
        if networks not in self._http:
            guard = Guard([opened(one) for one in networks])
            self._http[networks] = HttpClient(
                "notify",
                guard=guard,
                total_s=settings.notify_timeout_s,
                per_host_max=IN_FLIGHT_MAX,  # a host is bounded for each channel, above
            )
        return self._http[networks]


async def send(context: Context, tasks: Sequence[Task[kinds.NotifyStep]]) -> None:
    """Start the calls of notifies that are due; finish the tasks of those that are not due any more."""
    keys = [(t.payload.order_id, t.payload.refund_id) for t in tasks]
    async with context.app.db.connect() as db:
        rows = await store.notifies_due(db, keys)
        parts = await notified_cards.delivered(db, context.catalogue, rows.values())
    over: list[Task[kinds.NotifyStep]] = []
    for task, key in zip(tasks, keys, strict=True):
        row = rows.get(key)
        if row is not None and _due(row):
            context.notifier.begin(task, as_owed(row, task.payload), parts.get(row.order_id, ()))
        else:
            over.append(task)
    if over:
        async with context.app.work("order.notify_over") as work:
            work.tasks.finish(*over)


def _due(row: NotifyRow) -> bool:
    open_ = row.notify_status in {NotifyStatus.NOT_STARTED, NotifyStatus.WAITING}
    return open_ and row.notify_count < row.max_count and row.order_status in ENDED
