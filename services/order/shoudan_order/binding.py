"""Binding: which suppliers deliver which part of an order, at the lowest cost.

Source: oms-behaviour §3.5; where it is silent, docs/divergences.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from shoudan_kit import metrics
from shoudan_kit.money import PPM, apply_rate
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import events, kinds, order_totals
from shoudan_order.catalogue.index import Catalogue, Offer, ProductRequest, SupplyRequest
from shoudan_order.catalogue.model import DownProduct, UpProduct
from shoudan_order.catalogue.routing import FactTable, is_allowed, rank, split
from shoudan_order.context import Context
from shoudan_order.states import AuditType, LossRule, OrderStatus, YesNo
from shoudan_order.store import deliveries as store
from shoudan_order.store.audits import NewAudit, insert_audits
from shoudan_order.store.rows import Delivery, Order, OrderUpdate

ORDERS_AT_LOSS_TOTAL: Final = metrics.counter(
    "orders_at_loss_total",
    "Orders with a part bound that costs more than it sells for.",
    ("line",),
)
NO_TABLE: Final[FactTable] = {}
AT_LOSS: Final = "only at a loss:"
# An order has at most 1000 units, and a part carries at least one or a face of its own.
PARTS_MAX = 1_000
INVOICE_NEEDED = 2
# No step begins within this margin before the order's timeout; half of a short timeout.
DELIVERY_MARGIN_S = 300


class PlannedPart(msgspec.Struct, frozen=True):
    """One part of an order and who delivers it."""

    offer: Offer
    num: int
    route_reason: str = ""

    @property
    def total_face_micros(self) -> int:
        """Face of the part."""
        return self.offer.product.face_micros * self.num


def delivery_margin_s(timeout_s: int) -> int:
    """Seconds before the timeout in which no step of the order begins."""
    return min(DELIVERY_MARGIN_S, timeout_s // 2)


def deliverable_num(catalogue: Catalogue, product: DownProduct, request: ProductRequest) -> int:
    """The most units of one order that deliveries of this product can carry, over all suppliers.

    A unit that is delivered in parts is ordered alone. An unsplit order of a packaged line is one delivery,
    bounded by the suppliers' limit_count; without a supplier there is no bound.
    """
    if product.can_split_order:
        in_parts = product.split_order_face_micros not in {0, product.face_micros}
        return 1 if in_parts else request.num
    line = catalogue.lines[product.line_id]
    if not line.can_package_delivery:
        return request.num
    invoiced = INVOICE_NEEDED in {request.invoice_type, product.invoice_type}
    supply = SupplyRequest(
        request.line_id,
        request.carrier_no,
        request.province_no,
        request.city_no,
        returnable=product.can_refund,
        invoiced=invoiced,
    )
    limits = (
        offer.product.limit_count
        for offer in catalogue.index.offers(supply)
        if offer.product.face_micros == request.face_micros and is_allowed(line, offer)
    )
    return max(limits, default=request.num)


def supply_request(catalogue: Catalogue, order: Order) -> SupplyRequest:
    """What must be bought for an order: a refundable sale needs a returnable purchase."""
    product = catalogue.down_products.get(order.down_product_id)
    return SupplyRequest(
        order.line_id,
        order.carrier_no,
        order.province_no,
        order.city_no,
        returnable=product is not None and product.can_refund,
        invoiced=INVOICE_NEEDED in {order.invoice_type, product.invoice_type if product else 0},
    )


def loss_rule(catalogue: Catalogue, order: Order) -> str:
    """What the order's line does with parts that cost more than they sell for."""
    line = catalogue.lines.get(order.line_id)
    return LossRule.ALLOW if line is None else line.loss_rule


def forbidden(catalogue: Catalogue, order: Order) -> Sequence[Offer]:
    """What could be bought for an order, or for a part, but of suppliers of a class that its line forbids."""
    offers = catalogue.index.offers(supply_request(catalogue, order))
    in_parts = order.can_split_order == YesNo.YES and order.num == 1
    return [
        one
        for one in split(catalogue.lines.get(order.line_id), offers)[1]
        if one.product.face_micros == order.face_micros
        or (in_parts and one.product.face_micros < order.face_micros)
    ]


def margin(order: Order | DownProduct, product: UpProduct) -> int:
    """What an order, or a product sold, earns when this is bought, in 10^-12 of the face; below 0 it loses.

    By the terms, so it holds for a part of any size: 利润 = 1-2+3-4-5+6+7 (000).
    """
    sold = order.sell_discount_ppm * (PPM - order.payment_fee_discount_ppm)
    down = order.service_discount_ppm - order.commission_discount_ppm
    up = product.commission_discount_ppm + product.service_discount_ppm - product.cost_discount_ppm
    return sold + (down + up) * PPM


def plan(
    catalogue: Catalogue,
    order: Order,
    bound_micros: int,
    excluded: Collection[str] = (),
    *,
    at_loss: bool = False,
    facts: FactTable = NO_TABLE,
) -> list[PlannedPart]:
    """Parts for what is not bound yet, each at the largest fitting face, at the supplier its line prefers.

    `excluded` suppliers get nothing, nor do those of a class that the line forbids, nor those that cost more
    than the order sells for where its line does not allow it; unless `at_loss`. What no supplier can take
    stays unbound.
    """
    line = catalogue.lines.get(order.line_id)
    packaged = line is not None and line.can_package_delivery
    offers = [
        offer
        for offer in catalogue.index.offers(supply_request(catalogue, order))
        if offer.channel_no not in excluded
    ]
    if not at_loss and loss_rule(catalogue, order) != LossRule.ALLOW:
        offers = [offer for offer in offers if margin(order, offer.product) >= 0]
    ranked = rank(line, offers, facts, order.order_id)
    reasons: dict[int, str] = {}  # the parts of one offer have one text
    planned: list[PlannedPart] = []
    while bound_micros < order.total_face_micros and len(planned) < PARTS_MAX:
        left = order.total_face_micros - bound_micros
        one = _next_part(order, left, ranked.offers, packaged=packaged)
        if one is None:
            break
        product_id = one.offer.product.product_id
        if product_id not in reasons:
            reasons[product_id] = ranked.reason(one.offer)
        planned.append(msgspec.structs.replace(one, route_reason=reasons[product_id]))
        bound_micros += one.total_face_micros
    return planned


def _next_part(
    order: Order, remaining_micros: int, offers: Sequence[Offer], *, packaged: bool
) -> PlannedPart | None:
    whole = order.can_split_order != YesNo.YES
    need_num = 1 if order.num == 1 else remaining_micros // order.face_micros
    exact = whole or order.num > 1
    face_micros = order.face_micros if exact else _part_face(order, remaining_micros)
    for offer in offers:
        face, limit = offer.product.face_micros, offer.product.limit_count
        if face > face_micros or (exact and face != face_micros):
            continue
        if not packaged:
            return PlannedPart(offer, 1)  # units travel one by one; that is no split of the order
        if limit >= need_num or not whole:
            return PlannedPart(offer, min(limit, need_num))
    return None


def _part_face(order: Order, remaining_micros: int) -> int:
    """The face wanted next of a single unit that may be delivered in parts."""
    part = order.split_order_face_micros
    return part if 0 < part < remaining_micros else remaining_micros


def delivery_of(order: Order, one: PlannedPart, delivery_id: int) -> Delivery:
    """The delivery of a slice, with what the supplier is paid for it."""
    product = one.offer.product
    total = one.total_face_micros
    timeout_s = min(
        one.offer.delivery_overtime_s, order.timeout_s - delivery_margin_s(order.timeout_s)
    )
    return Delivery(
        delivery_id=delivery_id,
        order_id=order.order_id,
        up_channel_no=one.offer.channel_no,
        up_product_id=product.product_id,
        up_ext_product_no=product.ext_product_no,
        invoice_type=product.invoice_type,
        face_micros=product.face_micros,
        num=one.num,
        total_face_micros=total,
        cost_amount_micros=apply_rate(total, product.cost_discount_ppm),
        up_commission_amount_micros=apply_rate(total, product.commission_discount_ppm),
        service_amount_micros=apply_rate(total, product.service_discount_ppm),
        route_reason=one.route_reason,
        timeout_s=max(1, timeout_s),
    )


def _losing(catalogue: Catalogue, order: Order, parts: Sequence[Delivery]) -> int:
    """How many of the parts cost more than they sell for."""
    bought = (catalogue.up_products.get(part.up_product_id) for part in parts)
    return sum(product is not None and margin(order, product) < 0 for product in bought)


def enqueue_deliveries(
    context: Context, work: UnitOfWork, order: Order, parts: Sequence[Delivery]
) -> None:
    """Add the deliver tasks of parts just bound, and publish it.

    Each has its delivery's number, so that the replica that hears the result can end it.
    """
    if not parts:
        return
    cached = context.memory.get(order.order_id)
    for part in parts:
        step = kinds.DeliveryStep(part.delivery_id, order.order_id)
        cover = context.memory.cover(order.order_id)
        context.enqueue(
            work, kinds.DELIVER, order.line_id, step, task_id=part.delivery_id, cover=cover
        )
        if cached is not None:
            cached.deliveries[part.delivery_id] = part
    text = ", ".join(f"{part.up_channel_no} #{part.delivery_id}" for part in parts[:10])
    if losing := _losing(context.catalogue, order, parts):
        ORDERS_AT_LOSS_TOTAL(str(order.line_id)).inc()
        text += f"; {losing} of {len(parts)} at a loss"
    events.order_event(
        work,
        "bound",
        order,
        OrderStatus.DELIVERING,
        events.BIND,
        text,
        delivery_id=parts[0].delivery_id,
    )


def enqueue_bind(
    context: Context, work: UnitOfWork, order: Order, left_s: int, *, tried: bool
) -> None:
    """Add the bind task of an order; after a bind that has just been `tried` it waits its interval."""
    context.enqueue(
        work,
        kinds.BIND,
        order.line_id,
        kinds.OrderStep(order.order_id),
        delay_s=kinds.BIND.interval_s if tried else 0,
        deadline_s=max(left_s, 0) + kinds.BIND.deadline_s,
    )


def can_run_inline(context: Context, line_id: int) -> bool:
    """Whether binding and the start of a delivery may be one step with the one before."""
    return context.serves(line_id, kinds.BIND) and context.serves(line_id, kinds.DELIVER)


def plan_deliveries(
    context: Context,
    order: Order,
    bound_micros: int,
    excluded: Collection[str] = (),
    *,
    at_loss: bool = False,
) -> list[Delivery]:
    """Parts for what is open, with their numbers."""
    found = plan(
        context.catalogue, order, bound_micros, excluded, at_loss=at_loss, facts=context.route_facts
    )
    ids = context.app.ids.take(len(found))
    return [
        delivery_of(order, one, delivery_id) for one, delivery_id in zip(found, ids, strict=True)
    ]


async def bind_open(
    context: Context,
    work: UnitOfWork,
    open_orders: Mapping[int, tuple[Order, OrderUpdate]],
    *,
    at_loss: bool = False,
) -> dict[int, OrderUpdate]:
    """Bind the unbound amount of locked orders, skipping suppliers that just failed or are in conflict.

    What can only be bound at a loss is bound `at_loss`, or where the line allows it; a line may park it.
    """
    excluded = await store.excluded(work.db, list(open_orders), context.settings.exclude_failed_s)
    after: dict[int, OrderUpdate] = {}
    made: list[Delivery] = []
    for order_id, (order, now) in open_orders.items():
        without = excluded.get(order_id, set())
        parts = plan_deliveries(context, order, now.bind_face_micros, without, at_loss=at_loss)
        for part in parts:
            now = order_totals.bound(now, part.total_face_micros)
        made += parts
        after[order_id] = _parked_for_loss(context.catalogue, order, now, without)
        enqueue_deliveries(context, work, order, parts)
    orders = {order_id: order for order_id, (order, _) in open_orders.items()}
    await store.insert_deliveries(work.db, made, orders)
    await _ask_for_losses(work, orders, after)
    return after


def _parked_for_loss(
    catalogue: Catalogue, order: Order, now: OrderUpdate, excluded: Collection[str]
) -> OrderUpdate:
    """The order, parked where its line wants so and its rest can only be bound at a loss."""
    unbound = now.bind_face_micros < order.total_face_micros
    if not unbound or now.parked_reason or loss_rule(catalogue, order) != LossRule.PARK:
        return now
    parts = plan(catalogue, order, now.bind_face_micros, excluded, at_loss=True)
    if not parts:
        return now
    offer = parts[0].offer
    ppm = -margin(order, offer.product) // PPM
    reason = f"{AT_LOSS} {offer.channel_no} costs {ppm / 10_000:g}% of the face more than is earned"
    return msgspec.structs.replace(now, parked_reason=reason)


async def _ask_for_losses(
    work: UnitOfWork, orders: Mapping[int, Order], after: Mapping[int, OrderUpdate]
) -> None:
    """An audit for each order that has just been parked for its loss."""
    parked = {i: now for i, now in after.items() if now.parked_reason != now.was.parked_reason}
    if not parked:
        return
    asked = [
        NewAudit(work.ids.next(), order_id, 0, 0, AuditType.ORDER, now.parked_reason)
        for order_id, now in parked.items()
    ]
    await insert_audits(work.db, asked)
    for order_id, now in parked.items():
        events.order_event(
            work, "parked", orders[order_id], now.order_status, events.BIND, now.parked_reason
        )
