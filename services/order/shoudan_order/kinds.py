"""The background steps of orders and refunds: payload, queue and timing of each (qtask kinds).

A line's own queue columns win over the queue named here. Source: 000 §二.2.1, oms-behaviour §3.3.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from shoudan_kit.tasks.kinds import Kind
from shoudan_order.tables import QUEUES

P = TypeVar("P", bound=msgspec.Struct)

COUNT_MAX: Final = 100_000
DAY_S: Final = 86_400
GOODS_FAILS_MAX: Final = 10  # calls of one subscription in a row; then it is given up


class OrderStep(msgspec.Struct, frozen=True):
    """A step of one order."""

    order_id: int


class DeliveryStep(msgspec.Struct, frozen=True):
    """A step of one delivery."""

    delivery_id: int
    order_id: int


class NotifyStep(msgspec.Struct, frozen=True, omit_defaults=True):
    """A notify of an order, or of one of its refunds.

    `status` and `fail_*` are fixed when it is enqueued; later changes of the order do not alter them. None
    in a step that was resent: the notify's row has them since its first attempt.
    """

    order_id: int
    refund_id: int = 0
    status: int | None = None
    fail_code: str = ""
    fail_msg: str = ""


class EndpointStep(msgspec.Struct, frozen=True, omit_defaults=True):
    """A notify of one endpoint; its row, made at the first attempt, is found by endpoint and event_key."""

    endpoint_no: str
    channel_no: str
    event_key: str
    event: str
    body: str
    order_id: int = 0

    @property
    def order_no(self) -> str:
        """What it is about: one task at a time sends it."""
        return f"{self.endpoint_no}:{self.event_key}"


class RefundStep(msgspec.Struct, frozen=True):
    """A step of one refund."""

    refund_id: int
    order_id: int


class ReturnStep(msgspec.Struct, frozen=True):
    """A step of one return."""

    return_id: int
    refund_id: int
    order_id: int


class ShelfStep(msgspec.Struct, frozen=True):
    """A subscribed channel whose shelves changed with this version of the catalogue."""

    channel_no: str
    version: int


class GoodsStep(msgspec.Struct, frozen=True):
    """A channel of the 虚拟货源 interface whose goods changed with this version of the catalogue."""

    channel_no: str
    version: int


class PriceStep(msgspec.Struct, frozen=True):
    """A supplier's price that is in force from now on."""

    product_id: int
    price_version: int


Step = OrderStep | DeliveryStep | NotifyStep | RefundStep | ReturnStep

# The queue column of a product line that each kind goes by.
QUEUE_COLUMNS: Final = {
    "order.pay": "payment_queue",
    "order.bind": "bind_queue",
    "order.deliver": "delivery_queue",
    "order.up_pay": "up_payment_queue",
    "order.notify": "notify_queue",
    "order.overtime": "order_overtime_queue",
    "order.delivery_unknown": "delivery_unknown_queue",
    "order.refund": "order_refund_queue",
    "refund.return": "return_queue",
    "refund.pay": "refund_queue",
    "refund.up_pay": "up_refund_queue",
    "refund.notify": "refund_notify_queue",
    "refund.overtime": "refund_overtime_queue",
    "refund.return_unknown": "return_unknown_queue",
}


def _kind(
    name: str, step: type[P], *, interval_s: int = 300, deadline_s: int = 3 * DAY_S
) -> Kind[P]:
    """A kind in its documented queue. The deadline ends a step; the count only bounds it."""
    return Kind(name, step, QUEUES[QUEUE_COLUMNS[name]][0], interval_s, deadline_s, COUNT_MAX)


PAY: Final = _kind("order.pay", OrderStep)
BIND: Final = _kind("order.bind", OrderStep, interval_s=30)
DELIVER: Final = _kind("order.deliver", DeliveryStep, interval_s=120)
UP_PAY: Final = _kind("order.up_pay", DeliveryStep)
NOTIFY: Final = _kind("order.notify", NotifyStep, deadline_s=7 * DAY_S)
TIMEOUT: Final = _kind("order.overtime", OrderStep)
DELIVERY_UNKNOWN: Final = _kind("order.delivery_unknown", DeliveryStep)
ORDER_REFUND: Final = _kind("order.refund", OrderStep)
RETURN: Final = _kind("refund.return", ReturnStep)
DOWN_REFUND: Final = _kind("refund.pay", RefundStep)
UP_REFUND: Final = _kind("refund.up_pay", ReturnStep)
REFUND_NOTIFY: Final = _kind("refund.notify", NotifyStep, deadline_s=7 * DAY_S)
REFUND_TIMEOUT: Final = _kind("refund.overtime", RefundStep)
RETURN_UNKNOWN: Final = _kind("refund.return_unknown", ReturnStep)
ENDPOINT: Final = Kind(
    "endpoint.notify",
    EndpointStep,
    "oms:endpoint:notify",
    60,
    7 * DAY_S,
    COUNT_MAX,
    exclusive=True,
)
PRICE: Final = Kind("catalogue.price", PriceStep, "oms:catalogue:price", 60, 400 * DAY_S, COUNT_MAX)
SHELF: Final = Kind(
    "order.shelf_notify",
    ShelfStep,
    "oms:shelf:notify",
    60,
    7 * DAY_S,
    COUNT_MAX,
    exclusive=True,
)
GOODS: Final = Kind(
    "goods.change_notify",
    GoodsStep,
    "oms:goods:notify",
    60,
    7 * DAY_S,
    COUNT_MAX,
    exclusive=True,
)
