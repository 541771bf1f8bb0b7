"""The rows statements take and give, as frozen dataclasses."""

from __future__ import annotations

from datetime import datetime

import msgspec

from shoudan_order.states import (
    BindStatus,
    DeliveryStatus,
    FailRefundStatus,
    NotifyStatus,
    OrderStatus,
    PaymentStatus,
    UpPaymentStatus,
)


class Order(msgspec.Struct, frozen=True):
    """An order as it was sold: what never changes."""

    order_id: int
    down_channel_no: str
    request_no: str
    down_shelf_id: int
    down_product_id: int
    ext_product_no: str
    line_id: int
    carrier_no: str
    province_no: str
    city_no: str
    invoice_type: int
    face_micros: int
    num: int
    total_face_micros: int
    mer_amount_micros: int
    sell_amount_micros: int
    commission_amount_micros: int
    service_amount_micros: int
    fee_amount_micros: int
    sell_discount_ppm: int
    commission_discount_ppm: int
    service_discount_ppm: int
    payment_fee_discount_ppm: int
    can_split_order: int
    split_order_face_micros: int
    timeout_s: int
    rechage_account: str
    has_notify: bool
    request_hash: bytes


class OrderState(msgspec.Struct, frozen=True):
    """Where an order stands: statuses and sums."""

    order_id: int
    order_status: OrderStatus
    payment_status: PaymentStatus
    delivery_bind_status: BindStatus
    refund_status: FailRefundStatus
    notify_status: NotifyStatus
    is_refund: int
    delivery_pause: int
    bind_face_micros: int
    success_face_micros: int
    success_sell_amount_micros: int
    success_commission_micros: int
    success_service_micros: int
    success_fee_micros: int
    success_cost_amount_micros: int
    success_up_commission_micros: int
    success_up_service_micros: int
    profit_micros: int
    up_paid_face_micros: int
    left_s: int
    parked_reason: str
    fail_code: str
    fail_msg: str


class OrderUpdate(OrderState, frozen=True):
    """What becomes of an order, decided under its lock; `was` is what was read there."""

    was: OrderState


class Delivery(msgspec.Struct, frozen=True):
    """A part of an order at one supplier, as it was bound."""

    delivery_id: int
    order_id: int
    up_channel_no: str
    up_product_id: int
    up_ext_product_no: str
    invoice_type: int
    face_micros: int
    num: int
    total_face_micros: int
    cost_amount_micros: int
    up_commission_amount_micros: int
    service_amount_micros: int
    route_reason: str
    timeout_s: int


class DeliveryState(msgspec.Struct, frozen=True):
    """Where a delivery stands."""

    delivery: Delivery
    delivery_status: DeliveryStatus
    up_payment_status: UpPaymentStatus


class OrderSummary(msgspec.Struct, frozen=True):
    """An order as its channel sees it."""

    order_id: int
    down_channel_no: str
    request_no: str
    order_status: OrderStatus
    fail_code: str
    fail_msg: str
    notify_status: NotifyStatus
    request_hash: bytes


class NotifyRow(msgspec.Struct, frozen=True):
    """A notify of a channel, with what it says."""

    notify_id: int
    order_id: int
    refund_id: int
    down_channel_no: str
    request_no: str
    notify_url: str
    notify_count: int
    max_count: int
    notify_status: NotifyStatus
    order_status: OrderStatus
    down_refund_no: str
    refund_num: int
    refund_status: int
    fail_code: str
    fail_msg: str
    create_time: datetime
    owed_status: int | None  # what it says; None until the first attempt was stored
    owed_code: str
    owed_msg: str
    line_id: int
    end_time: datetime | None  # of the order
