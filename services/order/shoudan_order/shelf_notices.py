"""Notifies subscribed channels of what changed on their shelves: signed, in order, until acknowledged.

One cursor for each channel: what it has acknowledged. A notify holds what changed since, so a channel that
was away gets what it missed and not each step of it. A version that is sent twice changes nothing there.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, TypeVar

import orjson

from shoudan_kit import log, metrics
from shoudan_kit.db.errors import survived
from shoudan_kit.http.client import Answered, HttpResult
from shoudan_kit.ids import time_of
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.tasks.kinds import Task
from shoudan_order import kinds, notify_words
from shoudan_order.catalogue import admin, shelves
from shoudan_order.catalogue.model import DownChannel
from shoudan_order.catalogue.shelves import ShelfProduct
from shoudan_order.context import Context
from shoudan_order.store import catalogue as catalogue_store
from shoudan_order.store import shelves as store
from shoudan_order.store.shelves import Place

PRODUCTS_MAX: Final = 100  # of one notify; the rest follows in the next
IN_FLIGHT_MAX: Final = 200  # one for each channel at most
BUSY_S: Final = 1.0
ANSWER_CHARS_MAX: Final = 256
OFF, ON = 0, 1
DELAY_SECONDS: Final = metrics.histogram(
    "shelf_notify_delay_seconds",
    "From a change on a channel's shelf to the answer of its first notify.",
    ("outcome",),
    (0.05, 0.1, 0.5, 1, 5, 10, 60, 300, 1800),
)

_log = log.get_logger("shelf_notices")


S = TypeVar("S", kinds.ShelfStep, kinds.GoodsStep)


class ShelfNotices(Generic[S]):
    """Calls in flight to subscribed channels; none waits for another's."""

    def __init__(
        self, context: Context, notify: Callable[[Context, Task[S]], Awaitable[None]]
    ) -> None:
        """`notify` makes the call of one channel."""
        self._context, self._notify = context, notify
        self._calls: set[asyncio.Task[None]] = set()

    def begin(self, task: Task[S]) -> None:
        """Start one call, or give its task back; never waits."""
        if len(self._calls) >= IN_FLIGHT_MAX:
            task.retry_after(BUSY_S, "too many calls in flight")
            return
        task.detach()
        call = asyncio.create_task(
            self._call(task), name="shelf notify", context=contextvars.Context()
        )
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def aclose(self) -> None:
        """Wait for the calls in flight."""
        if self._calls:
            await asyncio.wait(self._calls, timeout=self._context.settings.notify_timeout_s)

    async def _call(self, task: Task[S]) -> None:
        with survived(_log, "shelf_notify_failed"):  # the task comes again after its interval
            await self._notify(self._context, task)
        if not task.finished and (worker := self._context.app.worker) is not None:
            worker.nack(task)


async def notify(context: Context, task: Task[kinds.ShelfStep]) -> None:
    """Send one notify of what a channel has not acknowledged; more of it has a task of its own."""
    await admin.refresh(context)
    now, step = context.catalogue, task.payload
    channel = now.down_channels.get(step.channel_no)
    async with context.app.work("order.shelf_cursor") as work:
        await catalogue_store.hold(work.db)
        cursor = await store.cursor(work.db, step.channel_no, step.version)
        places = await store.changed(
            work.db, step.channel_no, cursor.place, now.version, PRODUCTS_MAX + 1
        )
        subscribed = channel is not None and channel.enabled and channel.shelf_url
        if channel is None or not subscribed or not places:
            # A version written since the refresh found this task waiting and made none: it is this task's.
            if subscribed and await store.is_behind(work.db, step.channel_no):
                task.retry_after(0)
            else:
                work.tasks.finish(task)
            return
    given = places[:PRODUCTS_MAX]
    outcome = await _send(context, channel, task, given, more=len(places) > PRODUCTS_MAX)
    acknowledged = notify_words.acknowledged(outcome)
    if not cursor.fails:
        seconds = (context.app.clock.now() - time_of(task.id)).total_seconds()
        DELAY_SECONDS("acknowledged" if acknowledged else "not").observe(max(0.0, seconds))
    if not acknowledged:
        waits = context.settings.notify_waits_s
        said = f"HTTP {outcome.status}" if isinstance(outcome, Answered) else outcome.reason
        _log.warning("shelf_notify_refused", channel_no=channel.channel_no, answer=said[:64])
        async with context.app.work("order.shelf_refused") as work:
            await store.note_refused(work.db, channel.channel_no, said[:ANSWER_CHARS_MAX])
        wait_s = waits[min(cursor.fails, len(waits) - 1)]
        task.retry_after(wait_s * random.uniform(0.9, 1.1), said[:ANSWER_CHARS_MAX])
        return
    async with context.app.work("order.shelf_notified") as work:
        # No change of the catalogue meanwhile: one after this finds the task ended and makes another.
        await catalogue_store.hold(work.db)
        await store.advance(work.db, channel.channel_no, given[-1])
        if await store.is_behind(work.db, channel.channel_no):
            task.retry_after(0)
        else:
            work.tasks.finish(task)


async def _send(
    context: Context,
    channel: DownChannel,
    task: Task[kinds.ShelfStep],
    given: Sequence[Place],
    *,
    more: bool,
) -> HttpResult:
    products = [
        product_of(shelves.shown(context.catalogue, channel.channel_no, one.product_id))
        | {"version": str(one.version)}
        for one in given
    ]
    last = given[-1]
    body = orjson.dumps(
        {
            "channel_no": channel.channel_no,
            "version": str(last.version),
            "products": products,
            "more": more,
        }
    )
    headers = {"Content-Type": "application/json"}
    if secrets := context.notify_secrets(channel):
        name = f"shelf_{channel.channel_no}_{last.version}_{last.product_id}"
        timestamp = int(context.app.wall_clock.now().timestamp())
        headers |= notify_words.signed(secrets, name, timestamp, body)
    return await context.notifier.through(channel).send(
        "POST", channel.shelf_url, headers=headers, body=body, trace=task.trace
    )


def product_of(one: ShelfProduct) -> dict[str, Any]:
    """One product as `/product/list` gives it."""
    if not one.on_shelf:
        return {"product_id": str(one.product_id), "status": OFF}
    return {
        "product_id": str(one.product_id),
        "status": ON,
        "in_stock": one.in_stock,
        "line_id": one.line_id,
        "carrier_no": one.carrier_no,
        "province_no": one.province_no,
        "city_no": one.city_no,
        "invoice_type": one.invoice_type,
        "face": micros_to_yuan(one.face_micros),
        "price": micros_to_yuan(one.price_micros),
        "service_amount": micros_to_yuan(one.service_micros),
        "num_max": one.num_max,
        "can_refund": one.refundable,
    }


async def send(context: Context, tasks: Sequence[Task[kinds.ShelfStep]]) -> None:
    """Start the notifies that are due."""
    for task in tasks:
        context.shelf_notices.begin(task)
