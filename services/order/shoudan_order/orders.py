"""Taking and finding orders: price, idempotency, the rows and tasks an order begins with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from shoudan_kit.db.pool import retry
from shoudan_kit.db.text_statements import holdable
from shoudan_kit.money import MICROS_MAX, apply_rate, micros_to_yuan
from shoudan_kit.secrets.sealing import SealedColumn
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import events, kinds
from shoudan_order.binding import deliverable_num
from shoudan_order.catalogue.model import (
    WILDCARD,
    Catalogue,
    DownProduct,
    DownShelf,
    ProductRequest,
)
from shoudan_order.context import CachedOrder, Context
from shoudan_order.refusals import (
    ChannelUnavailable,
    FieldInvalid,
    NumTooHigh,
    OrderNotFound,
    OrderRefusal,
    PriceDiffers,
    ProductNotFound,
    RequestDiffers,
)
from shoudan_order.states import NotifyStatus, OrderStatus, yes_no
from shoudan_order.store import orders as store
from shoudan_order.store.rows import Order, OrderSummary

# |our price - amount| / total face may be at most this (oms-behaviour §3.4).
PRICE_DIFFERENCE_MAX_PPM = 100_000
PPM = 1_000_000


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order as its channel sends it."""

    channel_no: str
    request_no: str
    line_id: int
    carrier_no: str
    province_no: str
    city_no: str
    invoice_type: int
    num: int
    face_micros: int
    amount_micros: int
    notify_url: str
    rechage_account: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """An order that is stored; `existed` when it was there before."""

    order: OrderSummary
    existed: bool


@dataclass(slots=True)
class _Draft:
    """An order on its way into the database."""

    order: Order
    new: NewOrder


def content_hash(new: NewOrder) -> bytes:
    """What two requests must have in common to be the same; what names the request is not part of it.

    Stored under a key only, because an account could be guessed from it.
    """
    text = "\x1f".join(
        (
            str(new.line_id),
            new.carrier_no,
            new.province_no or WILDCARD,
            new.city_no or WILDCARD,
            str(new.invoice_type),
            str(new.num),
            str(new.face_micros),
            str(new.amount_micros),
            new.notify_url,
            new.rechage_account,
        )
    )
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def draft(catalogue: Catalogue, new: NewOrder, order_id: int, accounts: SealedColumn) -> Order:
    """The order this request makes, priced, its account sealed. Raises what it is refused with."""
    channel = catalogue.down_channels.get(new.channel_no)
    if channel is None or not channel.enabled:
        raise ChannelUnavailable(new.channel_no)
    request = ProductRequest(
        new.channel_no,
        new.line_id,
        new.carrier_no,
        new.province_no or WILDCARD,
        new.city_no or WILDCARD,
        new.face_micros,
        new.num,
        new.invoice_type,
    )
    product, shelf = _sold(catalogue, request)
    total = new.face_micros * new.num
    if total > MICROS_MAX:
        raise FieldInvalid("num", "face times num is too large")
    sell = apply_rate(total, product.sell_discount_ppm)
    _check_price(sell, new.amount_micros, total)
    return _order(request, new, order_id, product, shelf, total, sell, accounts)


def _sold(catalogue: Catalogue, request: ProductRequest) -> tuple[DownProduct, DownShelf]:
    """What is sold, if as many units can be. Raises ProductNotFound, NumTooHigh."""
    sold = catalogue.index.sold_as(request)
    if sold is None:
        num_max = catalogue.index.num_max(request)
        if num_max:
            raise NumTooHigh(request.channel_no, request.num, num_max)
        raise ProductNotFound(request.channel_no, micros_to_yuan(request.face_micros))
    num_max = deliverable_num(catalogue, sold[0], request)
    if request.num > num_max:
        raise NumTooHigh(request.channel_no, request.num, num_max)
    return sold


def _check_price(sell_micros: int, amount_micros: int, total_micros: int) -> None:
    difference = sell_micros - amount_micros
    if abs(difference) * PPM > PRICE_DIFFERENCE_MAX_PPM * total_micros:
        ppm = abs(difference) * PPM // total_micros
        sign = "-" if difference < 0 else ""
        raise PriceDiffers(f"{sign}{ppm // PPM}.{ppm % PPM:06d}".rstrip("0").rstrip("."))


def _order(
    request: ProductRequest,
    new: NewOrder,
    order_id: int,
    product: DownProduct,
    shelf: DownShelf,
    total: int,
    sell: int,
    accounts: SealedColumn,
) -> Order:
    return Order(
        order_id=order_id,
        down_channel_no=new.channel_no,
        request_no=new.request_no,
        down_shelf_id=shelf.shelf_id,
        down_product_id=product.product_id,
        ext_product_no=product.ext_product_no,
        line_id=new.line_id,
        carrier_no=new.carrier_no,
        province_no=request.province_no,
        city_no=request.city_no,
        invoice_type=new.invoice_type,
        face_micros=new.face_micros,
        num=new.num,
        total_face_micros=total,
        mer_amount_micros=new.amount_micros,
        sell_amount_micros=sell,
        commission_amount_micros=apply_rate(total, product.commission_discount_ppm),
        service_amount_micros=apply_rate(total, product.service_discount_ppm),
        fee_amount_micros=apply_rate(sell, product.payment_fee_discount_ppm),
        sell_discount_ppm=product.sell_discount_ppm,
        commission_discount_ppm=product.commission_discount_ppm,
        service_discount_ppm=product.service_discount_ppm,
        payment_fee_discount_ppm=product.payment_fee_discount_ppm,
        can_split_order=yes_no(product.can_split_order),
        split_order_face_micros=product.split_order_face_micros,
        timeout_s=shelf.order_overtime_s,
        rechage_account=accounts.seal(order_id, new.rechage_account),
        has_notify=bool(new.notify_url),
        request_hash=accounts.ring.keyed(content_hash(new)),
    )


async def create(context: Context, news: Sequence[NewOrder]) -> list[Accepted | OrderRefusal]:
    """Take orders; answers in order. Repeatable by (channel_no, request_no), also within the batch.

    Refuses: ChannelUnavailable, ProductNotFound, NumTooHigh, PriceDiffers, FieldInvalid,
    RequestDiffers - each alone. What is refused now but was taken before is answered as it was taken.
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
                # In memory before the commit hands the pay task on; nobody asks for it sooner.
                context.memory.put(_begin(context, work, one.order))
    return made


def _begin(context: Context, work: UnitOfWork, order: Order) -> CachedOrder:
    step = kinds.OrderStep(order.order_id)
    number, line, timeout_s = str(order.order_id), order.line_id, order.timeout_s
    work.tasks.add(
        kinds.PAY,
        step,
        order_no=number,
        queue=context.queue(line, kinds.PAY),
        deadline_s=timeout_s + kinds.PAY.deadline_s,
    )
    timeout_task = work.tasks.add(
        kinds.TIMEOUT,
        step,
        order_no=number,
        queue=context.queue(line, kinds.TIMEOUT),
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
