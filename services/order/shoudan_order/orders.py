"""Creating and finding orders: idempotency, the rows and tasks an order begins with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from shoudan_kit import metrics
from shoudan_kit.db.pool import retry
from shoudan_kit.db.text_statements import holdable
from shoudan_kit.tasks.covers import Cover
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_kit.tracing import carried
from shoudan_order import events, kinds, nonces
from shoudan_order.context import Context
from shoudan_order.order_cache import CachedOrder
from shoudan_order.pricing import NewOrder, content_hash, draft
from shoudan_order.refusals import (
    NonceUsed,
    OrderNotFound,
    OrderRefusal,
    RequestDiffers,
)
from shoudan_order.risk import guard
from shoudan_order.states import NotifyStatus, OrderStatus
from shoudan_order.store import orders as store
from shoudan_order.store.nonces import CallNonce
from shoudan_order.store.risk import Tally
from shoudan_order.store.rows import Order, OrderSummary

ORDERS_TAKEN_TOTAL: Final = metrics.counter(
    "orders_taken_total", "New orders stored, by product line.", ("line",)
)


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

    Refuses: ChannelUnavailable, ProductNotFound, NumTooHigh, PriceDiffers, PriceTooHigh, FieldInvalid,
    RiskBlocked, RiskLimit, RiskRepeated, RequestDiffers, NonceUsed - each alone. What is refused now but was
    stored before is answered with the stored order. The nonce of a call is used up whatever its answer.
    """
    answers, behind_replay = await _create(context, news)
    if behind_replay:
        # Their order was drafted from an earlier request with its key, which was a replay.
        again = await create(context, [news[index] for index in behind_replay])
        for index, answer in zip(behind_replay, again, strict=True):
            answers[index] = answer
    return answers


async def _create(
    context: Context, news: Sequence[NewOrder]
) -> tuple[list[Accepted | OrderRefusal], list[int]]:
    """The answers, and which requests must be tried again without the replay before them."""
    ids = context.app.ids.take(len(news))
    drafts: dict[tuple[str, str], _Draft] = {}
    refused: dict[int, OrderRefusal] = {}
    for index, new in enumerate(news):
        key = (new.channel_no, new.request_no)
        if key in drafts:
            continue
        try:
            order = draft(context.catalogue, new, ids[index], context.accounts, context.segments)
            drafts[key] = _Draft(order, new)
        except OrderRefusal as refusal:
            refused[index] = refusal
        else:
            carried.name_item(index, str(ids[index]))
    fresh, repeated = nonces.distinct(news)
    made, replays = set[int](), set[int]()
    if drafts or fresh:
        made, replays, risky = await retry(lambda: _insert(context, list(drafts.values()), fresh))
        _count(one.order for one in drafts.values() if one.order.order_id in made)
        for index, new in enumerate(news):
            if (refusal := risky.get((new.channel_no, new.request_no))) is not None:
                refused.setdefault(index, refusal)
    replays |= repeated
    left, behind = _without_replays(news, drafts, refused, replays)
    found = await _answers(context, news, left, drafts, refused, made)
    return [found.get(i) or NonceUsed(new.channel_no) for i, new in enumerate(news)], behind


def _count(stored: Iterable[Order]) -> None:
    for line_id, count in Counter(order.line_id for order in stored).items():
        ORDERS_TAKEN_TOTAL(str(line_id)).inc(count)


def _without_replays(
    news: Sequence[NewOrder],
    drafts: Mapping[tuple[str, str], _Draft],
    refused: Mapping[int, OrderRefusal],
    replays: set[int],
) -> tuple[Sequence[int], list[int]]:
    """The requests that are answered now, and those whose order was drafted from a replay."""
    if not replays:
        return range(len(news)), []
    left: list[int] = []
    behind: list[int] = []
    for index, new in enumerate(news):
        if nonces.is_replay(new, replays):
            continue
        key = (new.channel_no, new.request_no)
        drafted = index not in refused and nonces.is_replay(drafts[key].new, replays)
        (behind if drafted else left).append(index)
    return left, behind


async def _insert(
    context: Context, drafts: Sequence[_Draft], fresh: Sequence[CallNonce]
) -> tuple[set[int], set[int], dict[tuple[str, str], OrderRefusal]]:
    """Nonces, orders, notifies, tasks and events in one transaction.

    The new ids, the replayed calls, and what the risk rules refuse by (channel_no, request_no).
    """
    if guard.is_active(context):
        if guard.decides_first(context):
            return await _insert_decided(context, drafts, fresh)
        try:
            return await _insert_counted(context, drafts, fresh)
        except guard.RuleBroken:
            guard.decide_first(context)
            return await _insert_decided(context, drafts, fresh)
    async with context.app.work("order.create") as work:
        found = await _write(context, work, drafts, fresh)
        _begin_new(context, work, drafts, found.made)
    return found.made, found.replays, {}


async def _insert_counted(
    context: Context, drafts: Sequence[_Draft], fresh: Sequence[CallNonce]
) -> tuple[set[int], set[int], dict[tuple[str, str], OrderRefusal]]:
    """Count with the orders, decide behind them; RuleBroken, and nothing is left, when a rule refuses one."""
    async with context.app.work("order.create") as work:
        counting = await guard.counting(context, work.db, [(d.new, d.order) for d in drafts])
        left = [d for i, d in enumerate(drafts) if i not in counting.refused]
        found = await _write(context, work, left, fresh, counting.tally)
        await counting.settle(work.db, found.made, found.counters)
        _begin_new(context, work, left, found.made)
    return found.made, found.replays, _by_key(drafts, counting.refused)


async def _insert_decided(
    context: Context, drafts: Sequence[_Draft], fresh: Sequence[CallNonce]
) -> tuple[set[int], set[int], dict[tuple[str, str], OrderRefusal]]:
    """Lock the counters, decide, take what is let through, count it."""
    async with context.app.work("order.create") as work:
        admitted = await guard.admit(context, work.db, [(d.new, d.order) for d in drafts])
        left = [d for i, d in enumerate(drafts) if i not in admitted.refused]
        found = await _write(context, work, left, fresh)
        _begin_new(context, work, left, found.made)
        await admitted.count(work.db, found.made)
    return found.made, found.replays, _by_key(drafts, admitted.refused)


def _by_key(
    drafts: Sequence[_Draft], refused: Mapping[int, OrderRefusal]
) -> dict[tuple[str, str], OrderRefusal]:
    return {(drafts[i].new.channel_no, drafts[i].new.request_no): why for i, why in refused.items()}


async def _write(
    context: Context,
    work: UnitOfWork,
    drafts: Sequence[_Draft],
    fresh: Sequence[CallNonce],
    counted: Tally | None = None,
) -> store.Inserted:
    notified = [d for d in drafts if d.order.has_notify]
    notify_ids = context.app.ids.take(len(notified))
    notifies = [
        store.NewNotify(notify_id, d.order.order_id, d.order.down_channel_no, d.new.notify_url)
        for notify_id, d in zip(notify_ids, notified, strict=True)
    ]
    return await store.insert_orders(
        work.db,
        [d.order for d in drafts],
        [d.new.nonce.call_id if d.new.nonce else 0 for d in drafts],
        fresh,
        notifies,
        context.settings.notify_count_max,
        counted,
    )


def _begin_new(
    context: Context, work: UnitOfWork, drafts: Sequence[_Draft], made: set[int]
) -> None:
    for one in drafts:
        if one.order.order_id in made:
            # In memory before the commit hands the pay task to the worker.
            context.memory.put(_begin(context, work, one.order))


def _begin(context: Context, work: UnitOfWork, order: Order) -> CachedOrder:
    """Enqueue an order's payment and its timeout, which has the order's number: any replica may end it.

    The timeout's row stands for the steps of the order while it is young (decision 0058).
    """
    step = kinds.OrderStep(order.order_id)
    line, timeout_s = order.line_id, order.timeout_s
    cover = Cover(order.order_id, timeout_s + 1)
    pay_deadline_s = timeout_s + kinds.PAY.deadline_s
    context.enqueue(work, kinds.PAY, line, step, deadline_s=pay_deadline_s, cover=cover)
    context.enqueue(
        work,
        kinds.TIMEOUT,
        line,
        step,
        delay_s=cover.delay_s,
        deadline_s=timeout_s + kinds.TIMEOUT.deadline_s,
        task_id=cover.task_id,
    )
    events.order_event(work, "created", order, OrderStatus.PAYING, events.ORDERED)
    return CachedOrder(order, cover)


async def _answers(
    context: Context,
    news: Sequence[NewOrder],
    indices: Sequence[int],
    drafts: dict[tuple[str, str], _Draft],
    refused: dict[int, OrderRefusal],
    made: set[int],
) -> dict[int, Accepted | OrderRefusal]:
    """An answer for each request at `indices`: new, stored before, or why not."""
    keys = {index: (news[index].channel_no, news[index].request_no) for index in indices}
    looked_up = {
        key
        for index, key in keys.items()
        if index in refused or drafts[key].order.order_id not in made
    }
    stored: dict[tuple[str, str], OrderSummary] = {}
    if looked_up:
        async with context.app.db.connect() as db:
            stored = await store.orders_by_keys(db, list(looked_up))
    answers: dict[int, Accepted | OrderRefusal] = {}
    begun: set[tuple[str, str]] = set()
    for index, key in keys.items():
        new, one, there = news[index], drafts.get(key), stored.get(key)
        is_new = one is not None and one.order.order_id in made
        if index in refused and (is_new or there is None):
            answers[index] = refused[index]
        elif one is not None and is_new:
            first = key not in begun
            begun.add(key)
            answers[index] = _accepted(context, _fresh(one.order), new, existed=not first)
        else:
            assert there is not None, "an order that was not new is there"
            answers[index] = _accepted(context, there, new, existed=True)
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
