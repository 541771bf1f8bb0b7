"""Creating refunds: general (goods go back first) and mandatory (money goes back at once).

Source: 000 §四.3-5, oms-behaviour §3.7. The order is locked, so refunds of one order come one after
the other and never exceed what was delivered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shoudan_kit.audit_log.entries import masked_text
from shoudan_kit.db.pool import retry
from shoudan_kit.db.text_statements import holdable
from shoudan_kit.money import STEP
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import endpoint_events, events, kinds, nonces, order_totals
from shoudan_order.catalogue.index import Catalogue
from shoudan_order.context import Context
from shoudan_order.refusals import (
    MandatoryOrderNotFound,
    NonceUsed,
    NotRefundable,
    OrderNotSucceeded,
    OrderRefusal,
    PartialRefundRefused,
    RefundDiffers,
    RefundInProgress,
    RefundNotFound,
    RefundNumTooHigh,
    RefundOrderNotFound,
)
from shoudan_order.states import (
    MONEY_BACK,
    NOTIFY,
    UP_RETURN,
    DeliveryStatus,
    FailRefundStatus,
    MoneyBackEvent,
    MoneyBackStatus,
    NotifyEvent,
    NotifyStatus,
    OrderStatus,
    RefundStatus,
    RefundType,
    ReturnStatus,
    UpPaymentStatus,
    UpReturnEvent,
    UpReturnStatus,
    YesNo,
)
from shoudan_order.store import deliveries as delivery_store
from shoudan_order.store import nonces as nonce_store
from shoudan_order.store import orders as order_store
from shoudan_order.store import refunds as store
from shoudan_order.store import retention
from shoudan_order.store import returns as return_store
from shoudan_order.store.nonces import CallNonce
from shoudan_order.store.refunds import Refund
from shoudan_order.store.returns import Return
from shoudan_order.store.rows import Delivery, DeliveryState, Order, OrderState, OrderUpdate

# A number taken between our look and our write is found at the second try.
TRIES_MAX = 3


class _NumberTaken(Exception):
    """Another order's refund has taken a refund_no since it was looked up; everything is done again."""


@dataclass(frozen=True, slots=True)
class NewRefund:
    """A refund as its channel sends it."""

    channel_no: str
    request_no: str
    refund_no: str
    refund_num: int
    notify_url: str
    refund_type: RefundType
    nonce: CallNonce | None = None
    reason: str = ""

    @property
    def request_hash(self) -> bytes:
        """What two requests must have in common to be the same: neither the key nor the reason."""
        text = "\x1f".join(
            (self.request_no, str(self.refund_num), self.notify_url, str(int(self.refund_type)))
        )
        return hashlib.blake2b(text.encode(), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class AcceptedRefund:
    """A refund that is stored; `existed` when it was there before."""

    refund: Refund
    existed: bool


@dataclass(slots=True)
class _Batch:
    """What a batch of refunds writes."""

    refunds: list[Refund] = field(default_factory=list[Refund])
    timeouts_s: list[int] = field(default_factory=list[int])
    urls: dict[int, str] = field(default_factory=dict[int, str])
    returns: list[Return] = field(default_factory=list[Return])
    orders: dict[int, OrderUpdate] = field(default_factory=dict[int, OrderUpdate])


async def create(
    context: Context, news: Sequence[NewRefund]
) -> list[AcceptedRefund | OrderRefusal]:
    """Store new refunds; answers in order. Repeatable by (channel_no, refund_no).

    Refuses, each alone: RefundOrderNotFound, MandatoryOrderNotFound, OrderNotSucceeded, NotRefundable,
    PartialRefundRefused, RefundInProgress, RefundNumTooHigh, RefundDiffers, NonceUsed. NotRefundable, too,
    for an order that is archived.
    The nonce of a call is used up whatever its answer.
    """
    for attempt in range(1, TRIES_MAX + 1):
        try:
            return await retry(lambda: _create(context, news))
        except _NumberTaken:
            if attempt == TRIES_MAX:
                raise
    raise AssertionError("TRIES_MAX is at least 1")


async def _create(
    context: Context, news: Sequence[NewRefund]
) -> list[AcceptedRefund | OrderRefusal]:
    fresh, replays = nonces.distinct(news)
    async with context.app.work("refund.create") as work:
        if fresh:
            replays |= await nonce_store.use_nonces(work.db, fresh)
        orders = await store.lock_orders_by_keys(
            work.db, list(dict.fromkeys((n.channel_no, n.request_no) for n in news))
        )
        there = await store.refunds_by_keys(work.db, [(n.channel_no, n.refund_no) for n in news])
        missing = {(n.channel_no, n.request_no) for n in news} - set(orders)
        archived = await retention.archived_numbers(work.db, list(missing)) if missing else {}
        ids = [order.order_id for order, _ in orders.values()]
        in_refund = await store.orders_in_refund(work.db, ids)
        parts = await delivery_store.deliveries_of(work.db, ids)
        given = await return_store.returns_of_deliveries(
            work.db, [p.delivery.delivery_id for p in parts]
        )
        batch = _Batch()
        answers: list[AcceptedRefund | OrderRefusal] = []
        for new in news:
            if nonces.is_replay(new, replays):
                answers.append(NonceUsed(new.channel_no))
                continue
            gone = archived.get((new.channel_no, new.request_no), 0)
            if gone and (new.channel_no, new.refund_no) not in there:
                answers.append(NotRefundable(gone))
                continue
            answer = _take(context, work, batch, new, orders, there, in_refund, parts, given)
            answers.append(answer)
            if isinstance(answer, AcceptedRefund) and not answer.existed:
                there[new.channel_no, new.refund_no] = answer.refund
        await _write(context, work, batch, orders)
    return answers


def _take(
    context: Context,
    work: UnitOfWork,
    batch: _Batch,
    new: NewRefund,
    orders: Mapping[tuple[str, str], tuple[Order, OrderState]],
    there: Mapping[tuple[str, str], Refund],
    in_refund: set[int],
    parts: Sequence[DeliveryState],
    given: Sequence[Return],
) -> AcceptedRefund | OrderRefusal:
    stored = there.get((new.channel_no, new.refund_no))
    if stored is not None:
        if stored.request_hash != new.request_hash:
            return RefundDiffers(new.channel_no, new.refund_no)
        return AcceptedRefund(stored, True)
    found = orders.get((new.channel_no, new.request_no))
    if found is None:
        return _no_order(new)
    order, was = found
    now = batch.orders.get(order.order_id) or order_totals.as_is(was)
    mine = [one for one in parts if one.delivery.order_id == order.order_id]
    try:
        _check(context.catalogue, new, order, now, in_refund)
        refund, after = _refund(work, new, order, now)
        if new.refund_type == RefundType.GENERAL:
            batch.returns += _goods_back(work, refund, mine, [*given, *batch.returns])
            in_refund.add(order.order_id)
    except OrderRefusal as refusal:
        return refusal
    shelf = context.catalogue.down_shelves.get(order.down_shelf_id)
    batch.refunds.append(refund)
    batch.timeouts_s.append(shelf.refund_overtime_s if shelf else 600)
    if new.notify_url:
        batch.urls[refund.refund_id] = new.notify_url
    if after is not now:
        batch.orders[order.order_id] = after
    return AcceptedRefund(refund, False)


def _no_order(new: NewRefund) -> OrderRefusal:
    if new.refund_type == RefundType.MANDATORY:
        return MandatoryOrderNotFound(new.channel_no, new.request_no)
    return RefundOrderNotFound(new.channel_no, new.request_no)


def _check(
    catalogue: Catalogue, new: NewRefund, order: Order, now: OrderUpdate, in_refund: set[int]
) -> None:
    """The documented refusals in the documented order."""
    general = new.refund_type == RefundType.GENERAL
    if general and not _sold_still(catalogue, order):
        raise RefundOrderNotFound(new.channel_no, new.request_no)
    if now.order_status not in {OrderStatus.SUCCEEDED, OrderStatus.PARTIAL}:
        raise OrderNotSucceeded(order.order_id)
    product = catalogue.down_products.get(order.down_product_id)
    if general and (product is None or not product.can_refund):
        raise NotRefundable(order.order_id)
    split = order.can_split_order == YesNo.YES
    if split and new.refund_num != order.num:
        raise PartialRefundRefused(order.order_id)
    # The refund of what a partial order did not deliver is computed from what it did deliver.
    if order.order_id in in_refund or now.refund_status == FailRefundStatus.WAITING:
        raise RefundInProgress(order.order_id)
    if not split and now.success_face_micros < order.face_micros * new.refund_num:
        raise RefundNumTooHigh(order.order_id, new.refund_num)


def _sold_still(catalogue: Catalogue, order: Order) -> bool:
    product = catalogue.down_products.get(order.down_product_id)
    shelf = catalogue.down_shelves.get(order.down_shelf_id)
    channel = catalogue.down_channels.get(order.down_channel_no)
    return all(one is not None and one.enabled for one in (product, shelf, channel))


def _refund(
    work: UnitOfWork, new: NewRefund, order: Order, now: OrderUpdate
) -> tuple[Refund, OrderUpdate]:
    """The refund and the order after it; a general one leaves the order as it is until goods are back."""
    split = order.can_split_order == YesNo.YES
    face = now.success_face_micros if split else order.face_micros * new.refund_num
    after = order_totals.refunded(order, now, face)
    mandatory = new.refund_type == RefundType.MANDATORY
    up_return, down_refund, notify_status = (
        UpReturnStatus.WAITING,
        MoneyBackStatus.NOT_STARTED,
        NotifyStatus.NOT_STARTED,
    )
    if mandatory:
        up_return = UP_RETURN.next(up_return, UpReturnEvent.MANDATORY)
        down_refund = MONEY_BACK.next(down_refund, MoneyBackEvent.RETURNED)
        notify_status = (
            NOTIFY.next(notify_status, NotifyEvent.ENDED) if new.notify_url else notify_status
        )
    refund = Refund(
        refund_id=work.ids.next(),
        order_id=order.order_id,
        down_channel_no=new.channel_no,
        request_no=new.request_no,
        down_refund_no=new.refund_no,
        refund_type=new.refund_type,
        face_micros=order.face_micros,
        refund_num=new.refund_num,
        has_notify=bool(new.notify_url),
        request_hash=new.request_hash,
        refund_status=RefundStatus.REFUNDING if mandatory else RefundStatus.RETURNING,
        up_return_status=up_return,
        down_refund_status=down_refund,
        refund_notify_status=notify_status,
        reason=masked_text(new.reason),
        **amounts(now, after),
    )
    return refund, after if mandatory else now


def amounts(before: OrderUpdate, after: OrderUpdate) -> dict[str, Any]:
    """What a refund gives back: exactly what the order loses by it."""
    return {
        refund: getattr(before, total) - getattr(after, total)
        for total, refund in store.AMOUNTS.items()
    }


def _goods_back(
    work: UnitOfWork, refund: Refund, parts: Sequence[DeliveryState], given: Sequence[Return]
) -> list[Return]:
    """Returns of delivered goods until the refund is covered. Raises RefundNumTooHigh if they do not."""
    open_micros = refund.refund_face_micros
    made: list[Return] = []
    for one in parts:
        paid = one.up_payment_status in {UpPaymentStatus.PAID, UpPaymentStatus.PAYING}
        if one.delivery_status != DeliveryStatus.SUCCEEDED or not paid:
            continue
        part = one.delivery
        before = [r for r in given if r.delivery_id == part.delivery_id]
        left = part.num - sum(r.return_num for r in before)
        num = min(left, open_micros // part.face_micros)
        if num > 0:
            made.append(_return(work, refund, part, before, num))
            open_micros -= num * part.face_micros
    if open_micros:
        raise RefundNumTooHigh(refund.order_id, refund.refund_num)
    return made


def _return(
    work: UnitOfWork, refund: Refund, part: Delivery, before: Sequence[Return], num: int
) -> Return:
    last = num + sum(r.return_num for r in before) == part.num

    def share(whole: int, *gone: int) -> int:
        """The part of an amount for `num` of the units; the last return takes what is left."""
        if last:
            return whole - sum(gone)
        return STEP * ((whole * num + part.num * STEP // 2) // (part.num * STEP))

    return Return(
        return_id=work.ids.next(),
        up_channel_no=part.up_channel_no,
        up_product_id=part.up_product_id,
        up_ext_product_no=part.up_ext_product_no,
        order_id=refund.order_id,
        refund_id=refund.refund_id,
        delivery_id=part.delivery_id,
        return_face_micros=part.face_micros,
        return_num=num,
        return_total_face_micros=part.face_micros * num,
        return_cost_amount_micros=share(
            part.cost_amount_micros, *(r.return_cost_amount_micros for r in before)
        ),
        return_commission_amount_micros=share(
            part.up_commission_amount_micros, *(r.return_commission_amount_micros for r in before)
        ),
        return_service_amount_micros=share(
            part.service_amount_micros, *(r.return_service_amount_micros for r in before)
        ),
        return_status=ReturnStatus.WAITING,
        up_refund_status=MoneyBackStatus.NOT_STARTED,
    )


async def _write(
    context: Context,
    work: UnitOfWork,
    batch: _Batch,
    orders: Mapping[tuple[str, str], tuple[Order, OrderState]],
) -> None:
    if not batch.refunds:
        return
    by_id = {order.order_id: order for order, _ in orders.values()}
    notifies = [
        store.RefundNotify(work.ids.next(), r.refund_id, r.down_channel_no, batch.urls[r.refund_id])
        for r in batch.refunds
        if r.refund_id in batch.urls
    ]
    made = await store.insert_refunds(
        work.db, batch.refunds, batch.timeouts_s, notifies, context.settings.notify_count_max
    )
    if len(made) < len(batch.refunds):
        raise _NumberTaken
    await return_store.insert_returns(work.db, batch.returns)
    if batch.orders:
        await order_store.advance_orders(work.db, list(batch.orders.values()))
    for refund, timeout_s in zip(batch.refunds, batch.timeouts_s, strict=True):
        _begin(context, work, by_id[refund.order_id], refund, timeout_s)
    for one in batch.returns:
        add_return_task(context, work, by_id[one.order_id].line_id, one)


def _begin(
    context: Context, work: UnitOfWork, order: Order, refund: Refund, timeout_s: int
) -> None:
    mandatory = refund.refund_type == RefundType.MANDATORY
    events.refund_event(
        work,
        "created",
        refund,
        refund.refund_status,
        events.MANDATORY if mandatory else events.GENERAL,
        refund.reason,
    )
    if mandatory:
        enqueue_refund(context, work, order.line_id, refund)
    else:
        context.enqueue(
            work,
            kinds.REFUND_TIMEOUT,
            order.line_id,
            kinds.RefundStep(refund.refund_id, refund.order_id),
            delay_s=timeout_s + 1,
            deadline_s=timeout_s + kinds.REFUND_TIMEOUT.deadline_s,
        )


def add_return_task(context: Context, work: UnitOfWork, line_id: int, one: Return) -> None:
    """The task that hands a return over."""
    context.enqueue(
        work, kinds.RETURN, line_id, kinds.ReturnStep(one.return_id, one.refund_id, one.order_id)
    )


def enqueue_refund(context: Context, work: UnitOfWork, line_id: int, refund: Refund) -> None:
    """The tasks of a refund whose goods are back: the channel's money, and its notify."""
    context.enqueue(
        work, kinds.DOWN_REFUND, line_id, kinds.RefundStep(refund.refund_id, refund.order_id)
    )
    enqueue_notify(context, work, line_id, refund)


def enqueue_notify(context: Context, work: UnitOfWork, line_id: int, refund: Refund) -> None:
    """Owe how a refund ended: to its notify_url, if it named one, and to its channel's endpoints."""
    endpoint_events.owe_refund(context, work, refund)
    if refund.has_notify:
        context.enqueue(
            work,
            kinds.REFUND_NOTIFY,
            line_id,
            kinds.NotifyStep(refund.order_id, refund.refund_id, int(refund.refund_status)),
        )


async def query(
    context: Context, keys: Sequence[tuple[str, str, str]]
) -> list[Refund | OrderRefusal]:
    """How refunds stand by (channel_no, request_no, refund_no)."""
    async with context.app.db.connect() as db:
        asked = filter(holdable, dict.fromkeys((k[0], k[2]) for k in keys))
        found = await store.refunds_by_keys(db, list(asked))
    answers: list[Refund | OrderRefusal] = []
    for channel_no, request_no, refund_no in keys:
        one = found.get((channel_no, refund_no))
        there = one is not None and one.request_no == request_no
        answers.append(one if one and there else RefundNotFound(channel_no, request_no, refund_no))
    return answers
