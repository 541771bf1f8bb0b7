"""Notifies subscribers of the 虚拟货源 interface of changed goods: as they are now, until it is acknowledged.

A subscription keeps the newest version of the catalogue that it has acknowledged of its goods. What changed
again before it did is sent once, as it is by then. Source: docs/reference/http/goofish.md.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Final

import orjson

from shoudan_kit import log
from shoudan_kit.http.client import Answered, HttpResult, NotSent
from shoudan_kit.tasks.kinds import Task
from shoudan_order import goods, goods_notifies, kinds
from shoudan_order.catalogue import admin, shelves
from shoudan_order.catalogue.goods import OFF_SHELF, status_of
from shoudan_order.catalogue.model import DownChannel
from shoudan_order.context import Context
from shoudan_order.store import catalogue as catalogue_store
from shoudan_order.store import goods as store
from shoudan_order.store.goods import Due, Tried
from shoudan_signing import goofish

CALLS_MAX: Final = 50  # of one channel in one round; the rest follows in the next
AT_ONCE_MAX: Final = 10
ANSWER_CHARS_MAX: Final = 256

_log = log.get_logger("goods_changes")


async def notify(context: Context, task: Task[kinds.GoodsStep]) -> None:
    """Call the subscriptions of one channel whose goods changed; what is left comes in another round."""
    await admin.refresh(context)
    channel_no = task.payload.channel_no
    channel = context.catalogue.down_channels.get(channel_no)
    done: list[Tried] = []
    called = channel is not None and channel.enabled and goods_notifies.speaks(channel)
    if channel is not None and called:
        async with context.app.db.connect() as db:
            found = await store.due(db, channel_no, CALLS_MAX)
        room = asyncio.Semaphore(AT_ONCE_MAX)
        done = await asyncio.gather(*(_call(context, channel, one, task, room) for one in found))
    failed = [one for one in done if not one.acknowledged]
    for one in failed[:1]:
        _log.warning("goods_callback_refused", channel_no=channel_no, answer=one.answer[:64])
    async with context.app.work("goods.changes_notified") as work:
        # No change of the catalogue meanwhile: one after this finds the task ended and makes another.
        await catalogue_store.hold(work.db)
        if done:
            await store.tried(work.db, done)
        if not called or not await store.is_due(work.db, channel_no):
            work.tasks.finish(task)
        elif len(failed) < len(done) or not done:  # none was due, and one changed meanwhile
            task.retry_after(0)
        else:
            task.retry_after(_wait_s(context, failed), failed[0].answer)


def _wait_s(context: Context, failed: Sequence[Tried]) -> float:
    waits = context.settings.notify_waits_s
    least = min(one.due.fails for one in failed)
    return waits[min(least, len(waits) - 1)] * random.uniform(0.9, 1.1)


async def _call(
    context: Context,
    channel: DownChannel,
    one: Due,
    task: Task[kinds.GoodsStep],
    room: asyncio.Semaphore,
) -> Tried:
    parties = goods_notifies.parties(context, channel)
    if parties is None:
        outcome: HttpResult = NotSent(goods_notifies.UNSIGNABLE)
    else:
        body = orjson.dumps(await facts_of(context, channel.channel_no, one.product_id))
        timestamp = str(int(context.app.wall_clock.now().timestamp()))
        async with room:
            outcome = await context.notifier.through(channel).send(
                "POST",
                goofish.signed_url(one.notify_url, parties, timestamp, body),
                headers={"Content-Type": "application/json"},
                body=body,
                trace=task.trace,
            )
    said = f"HTTP {outcome.status}" if isinstance(outcome, Answered) else outcome.reason
    return Tried(one, goods_notifies.acknowledged(outcome), said[:ANSWER_CHARS_MAX])


async def facts_of(context: Context, channel_no: str, product_id: int) -> dict[str, Any]:
    """Goods as the interface lists them; of what is sold no more its number, off the shelf."""
    found = context.goods.find(channel_no, str(product_id))
    if found is None:
        return {"goods_no": str(product_id), "stock": 0, "status": OFF_SHELF}
    return {
        "goods_no": found.goods_no,
        "goods_type": int(found.goods_type),
        "goods_name": found.name,
        "price": found.price_fen(1),
        "stock": shelves.stock_of(
            context.catalogue, found, await goods.own_stock(context, [found])
        ),
        "status": status_of(found, context.catalogue),
    }


async def send(context: Context, tasks: Sequence[Task[kinds.GoodsStep]]) -> None:
    """Start the rounds that are due."""
    for task in tasks:
        context.goods_changes.begin(task)
