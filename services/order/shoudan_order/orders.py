"""Creating and finding orders: idempotency, the rows and tasks an order begins with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from shoudan_kit.db.pool import retry
from shoudan_kit.db.text_statements import holdable
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import events, kinds
from shoudan_order.context import Context
from shoudan_order.order_cache import CachedOrder
from shoudan_order.pricing import NewOrder, content_hash, draft
from shoudan_order.refusals import (
    OrderNotFound,
    OrderRefusal,
    RequestDiffers,
)
from shoudan_order.states import NotifyStatus, OrderStatus
from shoudan_order.store import orders as store
from shoudan_order.store.rows import Order, OrderSummary


class Accepted(msgspec.Struct, frozen=True):
    """An order that is stored; `existed` when it was there before."""

    order: OrderSummary
    existed: bool


@dataclass(slots=True)
class _Draft:
    """A new order and its request."""

    order: Order
    new: NewOrder


async def create(context: Context, news: Sequence[NewOrder]) -> list[Accepted | OrderRefusal]:
    """Store new orders; answers in order. Repeatable by (channel_no, request_no), also within the batch.

    Refuses: ChannelUnavailable, ProductNotFound, NumTooHigh, PriceDiffers, FieldInvalid,
    RequestDiffers - each alone. What is refused now but was stored before is answered with the stored order.
    """
    ids = context.app.ids.take(len(news))
    drafts: dict[tuple[str, str], _Draft] = {}
    refused: dict[int, OrderRefusal] = {}
    for index, new in enumerate(news):
        key = (new.channel_no, new.request_no)
        if key in drafts:
            continue
        try:
            drafts[key] = _Draft(draft(context.catalogue, new, ids[index], context.accounts), new)
        except OrderRefusal as refusal:
            refused[index] = refusal
    made = await retry(lambda: _insert(context, list(drafts.values()))) if drafts else set[int]()
    return await _answers(context, news, drafts, refused, made)


async def _insert(context: Context, drafts: Sequence[_Draft]) -> set[int]:
    """Orders, notifies, tasks and events in one transaction; the ids that are new."""
    notified = [d for d in drafts if d.order.has_notify]
    notify_ids = context.app.ids.take(len(notified))
    notifies = [
        store.NewNotify(notify_id, d.order.order_id, d.order.down_channel_no, d.new.notify_url)
        for notify_id, d in zip(notify_ids, notified, strict=True)
    ]
    async with context.app.work("order.create") as work:
        made = await store.insert_orders(
            work.db, [d.order for d in drafts], notifies, context.settings.notify_count_max
        )
        for one in drafts:
            if one.order.order_id in made:
                # In memory before the commit hands the pay task to the worker.
                context.memory.put(_begin(context, work, one.order))
    return made


def _begin(context: Context, work: UnitOfWork, order: Order) -> CachedOrder:
    step = kinds.OrderStep(order.order_id)
    line, timeout_s = order.line_id, order.timeout_s
    context.enqueue(work, kinds.PAY, line, step, deadline_s=timeout_s + kinds.PAY.deadline_s)
    timeout_task = context.enqueue(
        work,
        kinds.TIMEOUT,
        line,
        step,
        delay_s=timeout_s + 1,
        deadline_s=timeout_s + kinds.TIMEOUT.deadline_s,
    )
    events.order_event(work, "created", order, OrderStatus.PAYING, events.ORDERED)
    return CachedOrder(order, timeout_task)


async def _answers(
    context: Context,
    news: Sequence[NewOrder],
    drafts: dict[tuple[str, str], _Draft],
    refused: dict[int, OrderRefusal],
    made: set[int],
) -> list[Accepted | OrderRefusal]:
    """One answer for each request: new, stored before, or why not."""
    keys = [(new.channel_no, new.request_no) for new in news]
    looked_up = {
        key
        for index, key in enumerate(keys)
        if index in refused or drafts[key].order.order_id not in made
    }
    stored: dict[tuple[str, str], OrderSummary] = {}
    if looked_up:
        async with context.app.db.connect() as db:
            stored = await store.orders_by_keys(db, list(looked_up))
    answers: list[Accepted | OrderRefusal] = []
    begun: set[tuple[str, str]] = set()
    for index, (new, key) in enumerate(zip(news, keys, strict=True)):
        one, there = drafts.get(key), stored.get(key)
        is_new = one is not None and one.order.order_id in made
        if index in refused and (is_new or there is None):
            answers.append(refused[index])
        elif one is not None and is_new:
            first = key not in begun
            begun.add(key)
            answers.append(_accepted(context, _fresh(one.order), new, existed=not first))
        else:
            assert there is not None, "an order that was not new is there"
            answers.append(_accepted(context, there, new, existed=True))
    return answers


def _fresh(order: Order) -> OrderSummary:
    return OrderSummary(
        order.order_id,
        order.down_channel_no,
        order.request_no,
        OrderStatus.PAYING,
        "",
        "",
        NotifyStatus.NOT_STARTED,
        order.request_hash,
    )


def _accepted(
    context: Context, stored: OrderSummary, new: NewOrder, *, existed: bool
) -> Accepted | OrderRefusal:
    if existed:
        content = content_hash(new)  # bare in rows of before that are not sealed yet
        if stored.request_hash not in {context.accounts.ring.keyed(content), content}:
            return RequestDiffers(new.channel_no, new.request_no)
    return Accepted(stored, existed)


async def query(
    context: Context, keys: Sequence[tuple[str, str]]
) -> list[OrderSummary | OrderRefusal]:
    """How orders stand, key by key; running notifies are answered by it (100)."""
    async with context.app.db.connect() as db:
        found = await store.orders_by_keys(db, list(filter(holdable, dict.fromkeys(keys))))
        asked = [o.order_id for o in found.values() if o.notify_status == NotifyStatus.RUNNING]
        if asked:
            await store.advance_answered(db, asked)
    return [found.get(key) or OrderNotFound(*key) for key in keys]
