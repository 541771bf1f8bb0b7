"""Statuses and totals of an order after each event. Pure; called under the order's lock.

Source: oms-behaviour §3.5-3.6. Every change starts from `as_is` and goes through the lifecycles.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import msgspec

from shoudan_kit.db.columns import names_of
from shoudan_kit.money import apply_rate
from shoudan_order.states import (
    BIND,
    FAIL_REFUND,
    NOTIFY,
    ORDER,
    BindEvent,
    FailRefundEvent,
    NotifyEvent,
    NotifyStatus,
    OrderEvent,
    OrderStatus,
    PaymentStatus,
    YesNo,
)
from shoudan_order.store.returns import Return
from shoudan_order.store.rows import Delivery, Order, OrderState, OrderUpdate

_VALUES = attrgetter(*names_of(OrderState))

FAILED_CODE = "900"
# By which a cancelled order is known again: no other step writes it.
CANCELLED_TEXT = "订单已撤单"
PARTIAL_CODE = "800"
# Reason of an order parked because it is delivered in part and partial_auto is off.
HALF = "delivered in part"
# What seven amounts rounded apart may come to: less is no loss.
ROUNDED_MICROS = 30


def as_is(was: OrderState) -> OrderUpdate:
    """The order unchanged."""
    return OrderUpdate(*_VALUES(was), was=was)


class _Down(msgspec.Struct, frozen=True):
    """What the channel owes for the face delivered."""

    sell: int
    commission: int
    service: int
    fee: int


def _down(order: Order, face: int) -> _Down:
    """The terms of the sale times the face; exactly the order's amounts for all of it."""
    if face == order.total_face_micros:
        return _Down(
            order.sell_amount_micros,
            order.commission_amount_micros,
            order.service_amount_micros,
            order.fee_amount_micros,
        )
    sell = apply_rate(face, order.sell_discount_ppm)
    return _Down(
        sell,
        apply_rate(face, order.commission_discount_ppm),
        apply_rate(face, order.service_discount_ppm),
        apply_rate(sell, order.payment_fee_discount_ppm),
    )


def _summed(
    now: OrderUpdate, face: int, down: _Down, up: tuple[int, int, int], **more: Any
) -> OrderUpdate:
    """The order with these sums; 利润 = 1-2+3-4-5+6+7 (000). One copy: this is the hot path."""
    cost, commission, service = up
    return msgspec.structs.replace(
        now,
        success_face_micros=face,
        success_sell_amount_micros=down.sell,
        success_commission_micros=down.commission,
        success_service_micros=down.service,
        success_fee_micros=down.fee,
        success_cost_amount_micros=cost,
        success_up_commission_micros=commission,
        success_up_service_micros=service,
        profit_micros=down.sell
        - down.commission
        + down.service
        - down.fee
        - cost
        + commission
        + service,
        **more,
    )


def _up(now: OrderUpdate) -> tuple[int, int, int]:
    return (
        now.success_cost_amount_micros,
        now.success_up_commission_micros,
        now.success_up_service_micros,
    )


def returned(now: OrderUpdate, one: Return) -> OrderUpdate:
    """The up side without what returned goods had cost."""
    cost, commission, service = _up(now)
    down = _Down(
        now.success_sell_amount_micros,
        now.success_commission_micros,
        now.success_service_micros,
        now.success_fee_micros,
    )
    after = (
        cost - one.return_cost_amount_micros,
        commission - one.return_commission_amount_micros,
        service - one.return_service_amount_micros,
    )
    return _summed(now, now.success_face_micros, down, after)


def bound(now: OrderUpdate, face_micros: int) -> OrderUpdate:
    """Another part has been bound."""
    return msgspec.structs.replace(
        now,
        bind_face_micros=now.bind_face_micros + face_micros,
        delivery_bind_status=BIND.next(now.delivery_bind_status, BindEvent.BOUND),
    )


def unbound(now: OrderUpdate, face_micros: int) -> OrderUpdate:
    """A part has failed: its face is to be bound again."""
    status = now.delivery_bind_status
    if BIND.allows(status, BindEvent.UNBOUND):
        status = BIND.next(status, BindEvent.UNBOUND)
    return msgspec.structs.replace(
        now, bind_face_micros=now.bind_face_micros - face_micros, delivery_bind_status=status
    )


def delivered(order: Order, now: OrderUpdate, part: Delivery, cost_micros: int) -> OrderUpdate:
    """A part has been delivered; the last one ends the order."""
    face = now.success_face_micros + part.total_face_micros
    cost, commission, service = _up(now)
    up = (
        cost + cost_micros,
        commission + part.up_commission_amount_micros,
        service + part.service_amount_micros,
    )
    down = _down(order, face)
    if face < order.total_face_micros:
        return _summed(now, face, down, up)
    return _summed(
        now,
        face,
        down,
        up,
        order_status=ORDER.next(now.order_status, OrderEvent.DELIVERED),
        delivery_bind_status=BIND.next(now.delivery_bind_status, BindEvent.DELIVERED),
        notify_status=notify_after_end(order, now.notify_status),
    )


def loss(order: Order, part: Delivery) -> int:
    """What a part costs more than it is sold for, as both are booked; 0 when it loses nothing."""
    down = _down(order, part.total_face_micros)
    earned = down.sell - down.commission + down.service - down.fee
    paid = part.cost_amount_micros - part.up_commission_amount_micros - part.service_amount_micros
    lost = paid - earned
    return lost if lost > ROUNDED_MICROS else 0


def notify_after_end(order: Order, status: NotifyStatus) -> NotifyStatus:
    """The notify of an order that has just ended."""
    return NOTIFY.next(status, NotifyEvent.ENDED) if order.has_notify else status


def pending(now: OrderUpdate) -> bool:
    """Whether some part is open: bound, neither delivered nor failed."""
    return now.bind_face_micros > now.success_face_micros


def closed(order: Order, now: OrderUpdate, *, partial: bool) -> OrderUpdate:
    """The order at its timeout with no part open: failed, or (if `partial` allows) partial.

    What was not delivered is to be refunded. Not `partial`: it stays, for a person to decide.
    """
    if pending(now) or now.order_status != OrderStatus.DELIVERING:
        return now
    nothing = now.success_face_micros == 0
    if not nothing and not partial:
        return msgspec.structs.replace(now, parked_reason=HALF)
    event = OrderEvent.NOTHING_DELIVERED if nothing else OrderEvent.PART_DELIVERED
    bind = BindEvent.NOTHING_DELIVERED if nothing else BindEvent.PART_DELIVERED
    return _to_refund(
        order,
        now,
        order_status=ORDER.next(now.order_status, event),
        delivery_bind_status=BIND.next(now.delivery_bind_status, bind),
        fail_code=FAILED_CODE if nothing else PARTIAL_CODE,
        fail_msg="订单失败" if nothing else "订单部分成功",
    )


def cancelled(order: Order, now: OrderUpdate) -> OrderUpdate:
    """A paid order of which nothing is bound or delivered, ended by its channel; its money is to go back."""
    assert not pending(now), "what is with a supplier cannot be cancelled"
    assert now.success_face_micros == 0, "what was delivered cannot be cancelled"
    bind = BIND.next(now.delivery_bind_status, BindEvent.NOTHING_DELIVERED)
    return _to_refund(
        order,
        now,
        order_status=ORDER.next(now.order_status, OrderEvent.CANCELLED),
        delivery_bind_status=bind,
        fail_code=FAILED_CODE,
        fail_msg=CANCELLED_TEXT,
    )


def _to_refund(order: Order, now: OrderUpdate, **ended: Any) -> OrderUpdate:
    """An order that ends with something undelivered, which is to be refunded unless it was free."""
    free = now.was.payment_status == PaymentStatus.NOT_NEEDED
    refund = FailRefundEvent.NOTHING_PAID if free else FailRefundEvent.ORDER_FAILED
    return msgspec.structs.replace(
        now,
        refund_status=FAIL_REFUND.next(now.refund_status, refund),
        notify_status=notify_after_end(order, now.notify_status),
        **ended,
    )


def refunded(order: Order, now: OrderUpdate, face_micros: int) -> OrderUpdate:
    """The user gives goods of this face back: the down side shrinks, the order is partial or failed."""
    face = now.success_face_micros - face_micros
    now = _summed(now, face, _down(order, face), _up(now))
    whole = face == 0
    event = OrderEvent.REFUNDED if whole else OrderEvent.PART_REFUNDED
    return msgspec.structs.replace(
        now,
        order_status=ORDER.next(now.order_status, event),
        is_refund=YesNo.YES,
        fail_code=FAILED_CODE if whole else now.fail_code,
        fail_msg="订单已退款" if whole else now.fail_msg,
    )
