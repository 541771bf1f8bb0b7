"""The background steps of orders and refunds: payload, queue and timing of each (qtask kinds).

A line's own queue columns win over the queue named here. Source: 000 §二.2.1, oms-behaviour §3.3.
"""

from __future__ import annotations

from typing import Final

import msgspec

from shoudan_kit.tasks.kinds import Kind
from shoudan_order.tables import QUEUES

# The deadline ends a step, not the count; the count is only there to bound it.
COUNT_MAX: Final = 100_000
DAY_S: Final = 86_400


class OrderStep(msgspec.Struct, frozen=True):
    """A step of one order."""

    order_id: int


class DeliveryStep(msgspec.Struct, frozen=True):
    """A step of one delivery."""

    delivery_id: int
    order_id: int


class NotifyStep(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message owed to a channel: of the order, or of one of its refunds.

    `status` and what failed are those of the end it is owed for, whatever becomes of the order before
    it is acknowledged; None in a step that was resent: the notify's row has them since its first attempt.
    """

    order_id: int
    refund_id: int = 0
    status: int | None = None
    fail_code: str = ""
    fail_msg: str = ""


class RefundStep(msgspec.Struct, frozen=True):
    """A step of one refund."""

    refund_id: int
    order_id: int


class ReturnStep(msgspec.Struct, frozen=True):
    """A step of one return."""

    return_id: int
    refund_id: int
    order_id: int


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


def _queue(name: str) -> str:
    return QUEUES[QUEUE_COLUMNS[name]][0]


PAY: Final = Kind("order.pay", OrderStep, _queue("order.pay"), interval_s=300, count_max=COUNT_MAX)
BIND: Final = Kind(
    "order.bind", OrderStep, _queue("order.bind"), interval_s=30, count_max=COUNT_MAX
)
DELIVER: Final = Kind(
    "order.deliver", DeliveryStep, _queue("order.deliver"), interval_s=120, count_max=COUNT_MAX
)
UP_PAY: Final = Kind(
    "order.up_pay", DeliveryStep, _queue("order.up_pay"), interval_s=300, count_max=COUNT_MAX
)
NOTIFY: Final = Kind(
    "order.notify",
    NotifyStep,
    _queue("order.notify"),
    interval_s=300,
    deadline_s=7 * DAY_S,
    count_max=COUNT_MAX,
)
TIMEOUT: Final = Kind(
    "order.overtime",
    OrderStep,
    _queue("order.overtime"),
    interval_s=300,
    count_max=COUNT_MAX,
)
DELIVERY_UNKNOWN: Final = Kind(
    "order.delivery_unknown",
    DeliveryStep,
    _queue("order.delivery_unknown"),
    interval_s=300,
    count_max=COUNT_MAX,
)
ORDER_REFUND: Final = Kind(
    "order.refund", OrderStep, _queue("order.refund"), interval_s=300, count_max=COUNT_MAX
)
RETURN: Final = Kind(
    "refund.return", ReturnStep, _queue("refund.return"), interval_s=300, count_max=COUNT_MAX
)
DOWN_REFUND: Final = Kind(
    "refund.pay", RefundStep, _queue("refund.pay"), interval_s=300, count_max=COUNT_MAX
)
UP_REFUND: Final = Kind(
    "refund.up_pay", ReturnStep, _queue("refund.up_pay"), interval_s=300, count_max=COUNT_MAX
)
REFUND_NOTIFY: Final = Kind(
    "refund.notify",
    NotifyStep,
    _queue("refund.notify"),
    interval_s=300,
    deadline_s=7 * DAY_S,
    count_max=COUNT_MAX,
)
REFUND_TIMEOUT: Final = Kind(
    "refund.overtime",
    RefundStep,
    _queue("refund.overtime"),
    interval_s=300,
    count_max=COUNT_MAX,
)
RETURN_UNKNOWN: Final = Kind(
    "refund.return_unknown",
    ReturnStep,
    _queue("refund.return_unknown"),
    interval_s=300,
    count_max=COUNT_MAX,
)
