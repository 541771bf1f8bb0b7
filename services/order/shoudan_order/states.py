"""The lifecycles of orders, deliveries, refunds, returns and notifies: documented numbers, moves as data.

Source: 000 §四 and the status columns of its tables. A number that stands in UNUSED is documented and
kept for the dictionary, but no step of this system leads there.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any, Final

from shoudan_kit.state_machine import Machine
from shoudan_order.endpoint_states import ENDPOINT


class OrderStatus(IntEnum):
    """order_status. Partners see 10 and 20 as 30."""

    SUCCEEDED = 0
    PAYING = 10
    DELIVERING = 20
    FAILED = 90
    PARTIAL = 91


class OrderEvent(StrEnum):
    """What moves an order."""

    PAID = "paid"
    PAY_REFUSED = "pay_refused"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"  # by its channel, before anything was bound
    DELIVERED = "delivered"
    NOTHING_DELIVERED = "nothing_delivered"
    PART_DELIVERED = "part_delivered"
    PART_REFUNDED = "part_refunded"
    REFUNDED = "refunded"


ORDER: Final = Machine(
    name="order",
    initial=OrderStatus.PAYING,
    moves={
        (OrderStatus.PAYING, OrderEvent.PAID): OrderStatus.DELIVERING,
        (OrderStatus.PAYING, OrderEvent.PAY_REFUSED): OrderStatus.FAILED,
        (OrderStatus.PAYING, OrderEvent.TIMED_OUT): OrderStatus.FAILED,
        (OrderStatus.PAYING, OrderEvent.CANCELLED): OrderStatus.FAILED,
        (OrderStatus.DELIVERING, OrderEvent.CANCELLED): OrderStatus.FAILED,
        (OrderStatus.DELIVERING, OrderEvent.DELIVERED): OrderStatus.SUCCEEDED,
        (OrderStatus.DELIVERING, OrderEvent.NOTHING_DELIVERED): OrderStatus.FAILED,
        (OrderStatus.DELIVERING, OrderEvent.PART_DELIVERED): OrderStatus.PARTIAL,
        (OrderStatus.SUCCEEDED, OrderEvent.PART_REFUNDED): OrderStatus.PARTIAL,
        (OrderStatus.SUCCEEDED, OrderEvent.REFUNDED): OrderStatus.FAILED,
        (OrderStatus.PARTIAL, OrderEvent.PART_REFUNDED): OrderStatus.PARTIAL,
        (OrderStatus.PARTIAL, OrderEvent.REFUNDED): OrderStatus.FAILED,
    },
)


class PaymentStatus(IntEnum):
    """payment_status of an order."""

    PAID = 0
    NOT_STARTED = 10
    WAITING = 20
    PAYING = 30
    OVERTIME = 90
    NOT_NEEDED = 99


class PaymentEvent(StrEnum):
    """What moves a payment."""

    PAID = "paid"
    FREE = "free"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"


PAYMENT: Final = Machine(
    name="payment",
    initial=PaymentStatus.PAYING,
    moves={
        (PaymentStatus.PAYING, PaymentEvent.PAID): PaymentStatus.PAID,
        (PaymentStatus.PAYING, PaymentEvent.FREE): PaymentStatus.NOT_NEEDED,
        (PaymentStatus.PAYING, PaymentEvent.REFUSED): PaymentStatus.OVERTIME,
        (PaymentStatus.PAYING, PaymentEvent.TIMED_OUT): PaymentStatus.OVERTIME,
    },
)


class BindStatus(IntEnum):
    """delivery_bind_status of an order."""

    DONE = 0
    NOT_STARTED = 10
    WAITING = 20
    DELIVERING = 30
    FAILED = 90
    PARTIAL = 91


class BindEvent(StrEnum):
    """What moves the binding of an order to suppliers."""

    PAID = "paid"
    BOUND = "bound"
    UNBOUND = "unbound"
    DELIVERED = "delivered"
    NOTHING_DELIVERED = "nothing_delivered"
    PART_DELIVERED = "part_delivered"


BIND: Final = Machine(
    name="bind",
    initial=BindStatus.NOT_STARTED,
    moves={
        (BindStatus.NOT_STARTED, BindEvent.PAID): BindStatus.WAITING,
        (BindStatus.WAITING, BindEvent.BOUND): BindStatus.DELIVERING,
        (BindStatus.DELIVERING, BindEvent.BOUND): BindStatus.DELIVERING,
        (BindStatus.DELIVERING, BindEvent.UNBOUND): BindStatus.WAITING,
        (BindStatus.DELIVERING, BindEvent.DELIVERED): BindStatus.DONE,
        (BindStatus.WAITING, BindEvent.NOTHING_DELIVERED): BindStatus.FAILED,
        (BindStatus.DELIVERING, BindEvent.NOTHING_DELIVERED): BindStatus.FAILED,
        (BindStatus.WAITING, BindEvent.PART_DELIVERED): BindStatus.PARTIAL,
        (BindStatus.DELIVERING, BindEvent.PART_DELIVERED): BindStatus.PARTIAL,
    },
)


class FailRefundStatus(IntEnum):
    """refund_status of an order: giving the money of a failed order back."""

    DONE = 0
    NOT_STARTED = 10
    WAITING = 20
    RUNNING = 30
    NOT_NEEDED = 99


class FailRefundEvent(StrEnum):
    """What moves the refund of a failed order."""

    ORDER_FAILED = "order_failed"
    NOTHING_PAID = "nothing_paid"
    REFUNDED = "refunded"


FAIL_REFUND: Final = Machine(
    name="fail_refund",
    initial=FailRefundStatus.NOT_STARTED,
    moves={
        (FailRefundStatus.NOT_STARTED, FailRefundEvent.ORDER_FAILED): FailRefundStatus.WAITING,
        (FailRefundStatus.NOT_STARTED, FailRefundEvent.NOTHING_PAID): FailRefundStatus.NOT_NEEDED,
        (FailRefundStatus.WAITING, FailRefundEvent.NOTHING_PAID): FailRefundStatus.NOT_NEEDED,
        (FailRefundStatus.WAITING, FailRefundEvent.REFUNDED): FailRefundStatus.DONE,
        # A debit that arrived after the order had timed out is given back all the same.
        (FailRefundStatus.NOT_NEEDED, FailRefundEvent.ORDER_FAILED): FailRefundStatus.WAITING,
    },
)


class NotifyStatus(IntEnum):
    """notify_status of orders and notifies, refund_notify_status of refunds."""

    DONE = 0
    NOT_STARTED = 10
    WAITING = 20
    RUNNING = 30
    ANSWERED = 100


class NotifyEvent(StrEnum):
    """What moves a notify."""

    ENDED = "ended"
    REFUSED = "refused"
    ACKNOWLEDGED = "acknowledged"
    QUERIED = "queried"
    RESENT = "resent"


# Of an order or refund: whether its channel knows.
NOTIFY: Final = Machine(
    name="notify",
    initial=NotifyStatus.NOT_STARTED,
    moves={
        (NotifyStatus.NOT_STARTED, NotifyEvent.ENDED): NotifyStatus.RUNNING,
        (NotifyStatus.RUNNING, NotifyEvent.ACKNOWLEDGED): NotifyStatus.DONE,
        (NotifyStatus.RUNNING, NotifyEvent.QUERIED): NotifyStatus.ANSWERED,
    },
)

# Of the message itself: 10 never tried, 20 to be tried again.
MESSAGE: Final = Machine(
    name="message",
    initial=NotifyStatus.NOT_STARTED,
    moves={
        (NotifyStatus.NOT_STARTED, NotifyEvent.ACKNOWLEDGED): NotifyStatus.DONE,
        (NotifyStatus.NOT_STARTED, NotifyEvent.REFUSED): NotifyStatus.WAITING,
        (NotifyStatus.NOT_STARTED, NotifyEvent.QUERIED): NotifyStatus.ANSWERED,
        (NotifyStatus.WAITING, NotifyEvent.ACKNOWLEDGED): NotifyStatus.DONE,
        (NotifyStatus.WAITING, NotifyEvent.REFUSED): NotifyStatus.WAITING,
        (NotifyStatus.WAITING, NotifyEvent.RESENT): NotifyStatus.WAITING,
        (NotifyStatus.WAITING, NotifyEvent.QUERIED): NotifyStatus.ANSWERED,
    },
)


class DeliveryStatus(IntEnum):
    """delivery_status of an order's delivery."""

    SUCCEEDED = 0
    WAITING = 20
    SENDING = 30
    FAILED = 90


class DeliveryEvent(StrEnum):
    """What moves a delivery."""

    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CONFIRMED = "confirmed"  # a person decided that what failed was delivered


DELIVERY: Final = Machine(
    name="delivery",
    initial=DeliveryStatus.WAITING,
    moves={
        (DeliveryStatus.WAITING, DeliveryEvent.STARTED): DeliveryStatus.SENDING,
        (DeliveryStatus.WAITING, DeliveryEvent.FAILED): DeliveryStatus.FAILED,
        (DeliveryStatus.SENDING, DeliveryEvent.SUCCEEDED): DeliveryStatus.SUCCEEDED,
        (DeliveryStatus.SENDING, DeliveryEvent.FAILED): DeliveryStatus.FAILED,
        (DeliveryStatus.FAILED, DeliveryEvent.CONFIRMED): DeliveryStatus.SUCCEEDED,
    },
)


class UpPaymentStatus(IntEnum):
    """up_payment_status of a delivery."""

    PAID = 0
    NOT_STARTED = 10
    WAITING = 20
    PAYING = 30
    NOT_NEEDED = 99


class UpPaymentEvent(StrEnum):
    """What moves the payment of a supplier."""

    DELIVERED = "delivered"
    NOT_DELIVERED = "not_delivered"
    PAID = "paid"
    CONFIRMED = "confirmed"


UP_PAYMENT: Final = Machine(
    name="up_payment",
    initial=UpPaymentStatus.NOT_STARTED,
    moves={
        (UpPaymentStatus.NOT_STARTED, UpPaymentEvent.DELIVERED): UpPaymentStatus.PAYING,
        (UpPaymentStatus.NOT_STARTED, UpPaymentEvent.NOT_DELIVERED): UpPaymentStatus.NOT_NEEDED,
        (UpPaymentStatus.PAYING, UpPaymentEvent.PAID): UpPaymentStatus.PAID,
        (UpPaymentStatus.NOT_NEEDED, UpPaymentEvent.CONFIRMED): UpPaymentStatus.PAYING,
    },
)


class RefundStatus(IntEnum):
    """refund_status of a refund. Partners see 10 as 30 and 20 as 0."""

    SUCCEEDED = 0
    RETURNING = 10
    REFUNDING = 20
    FAILED = 90
    PARTIAL = 91


class RefundEvent(StrEnum):
    """What moves a refund."""

    RETURNED = "returned"
    NOT_RETURNED = "not_returned"
    PART_RETURNED = "part_returned"
    CLOSED = "closed"


REFUND: Final = Machine(
    name="refund",
    initial=RefundStatus.RETURNING,
    moves={
        (RefundStatus.RETURNING, RefundEvent.RETURNED): RefundStatus.REFUNDING,
        (RefundStatus.RETURNING, RefundEvent.NOT_RETURNED): RefundStatus.FAILED,
        (RefundStatus.RETURNING, RefundEvent.PART_RETURNED): RefundStatus.PARTIAL,
        (RefundStatus.REFUNDING, RefundEvent.CLOSED): RefundStatus.SUCCEEDED,
    },
)


class UpReturnStatus(IntEnum):
    """up_return_status of a refund."""

    DONE = 0
    WAITING = 20
    RUNNING = 30
    FAILED = 90
    PARTIAL = 91
    NOT_NEEDED = 99


class UpReturnEvent(StrEnum):
    """What moves the returns of a refund as a whole."""

    MANDATORY = "mandatory"
    STARTED = "started"
    RETURNED = "returned"
    NOT_RETURNED = "not_returned"
    PART_RETURNED = "part_returned"


UP_RETURN: Final = Machine(
    name="up_return",
    initial=UpReturnStatus.WAITING,
    moves={
        (UpReturnStatus.WAITING, UpReturnEvent.MANDATORY): UpReturnStatus.NOT_NEEDED,
        (UpReturnStatus.WAITING, UpReturnEvent.STARTED): UpReturnStatus.RUNNING,
        (UpReturnStatus.RUNNING, UpReturnEvent.STARTED): UpReturnStatus.RUNNING,
        (UpReturnStatus.WAITING, UpReturnEvent.NOT_RETURNED): UpReturnStatus.FAILED,
        (UpReturnStatus.RUNNING, UpReturnEvent.RETURNED): UpReturnStatus.DONE,
        (UpReturnStatus.RUNNING, UpReturnEvent.NOT_RETURNED): UpReturnStatus.FAILED,
        (UpReturnStatus.RUNNING, UpReturnEvent.PART_RETURNED): UpReturnStatus.PARTIAL,
    },
)


class MoneyBackStatus(IntEnum):
    """down_refund_status of a refund, up_refund_status of a return."""

    DONE = 0
    NOT_STARTED = 10
    WAITING = 20
    RUNNING = 30
    NOT_NEEDED = 99


class MoneyBackEvent(StrEnum):
    """What moves money back."""

    RETURNED = "returned"
    NOT_RETURNED = "not_returned"
    POSTED = "posted"


MONEY_BACK: Final = Machine(
    name="money_back",
    initial=MoneyBackStatus.NOT_STARTED,
    moves={
        (MoneyBackStatus.NOT_STARTED, MoneyBackEvent.RETURNED): MoneyBackStatus.WAITING,
        (MoneyBackStatus.NOT_STARTED, MoneyBackEvent.NOT_RETURNED): MoneyBackStatus.NOT_NEEDED,
        (MoneyBackStatus.WAITING, MoneyBackEvent.POSTED): MoneyBackStatus.DONE,
    },
)


class ReturnStatus(IntEnum):
    """return_status of a return to a supplier."""

    SUCCEEDED = 0
    WAITING = 20
    SENDING = 30
    FAILED = 90


class ReturnEvent(StrEnum):
    """What moves a return."""

    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


RETURN: Final = Machine(
    name="return",
    initial=ReturnStatus.WAITING,
    moves={
        (ReturnStatus.WAITING, ReturnEvent.STARTED): ReturnStatus.SENDING,
        (ReturnStatus.WAITING, ReturnEvent.FAILED): ReturnStatus.FAILED,
        (ReturnStatus.SENDING, ReturnEvent.SUCCEEDED): ReturnStatus.SUCCEEDED,
        (ReturnStatus.SENDING, ReturnEvent.FAILED): ReturnStatus.FAILED,
    },
)


class AuditType(IntEnum):
    """change_type of an audit: what a person decides."""

    DELIVERY = 1
    RETURN = 2
    ORDER = 3
    REFUND = 4
    FALSE_SUCCESS = 5


class LossRule(StrEnum):
    """What a product line does with a part that costs more than it sells for."""

    ALLOW = "allow"
    PARK = "park"
    REFUSE = "refuse"


class AuditStatus(IntEnum):
    """audit_status."""

    SUCCEEDED = 0
    WAITING = 20
    FAILED = 90
    PARTIAL = 91


class AuditEvent(StrEnum):
    """What a person decides."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    PARTIAL = "partial"


AUDIT: Final = Machine(
    name="audit",
    initial=AuditStatus.WAITING,
    moves={
        (AuditStatus.WAITING, AuditEvent.SUCCEEDED): AuditStatus.SUCCEEDED,
        (AuditStatus.WAITING, AuditEvent.FAILED): AuditStatus.FAILED,
        (AuditStatus.WAITING, AuditEvent.PARTIAL): AuditStatus.PARTIAL,
    },
)


class RefundType(IntEnum):
    """refund_type."""

    GENERAL = 1
    MANDATORY = 2
    MANUAL = 3


class NotifyType(IntEnum):
    """notify_type."""

    ORDER = 1
    REFUND = 2


class YesNo(IntEnum):
    """The documented yes and no: status, can_refund, can_split_order, complete_up_pay, is_refund …"""

    YES = 0
    NO = 1


MACHINES: Final[tuple[Machine[Any, Any], ...]] = (
    ORDER,
    PAYMENT,
    BIND,
    FAIL_REFUND,
    NOTIFY,
    MESSAGE,
    DELIVERY,
    UP_PAYMENT,
    REFUND,
    UP_RETURN,
    MONEY_BACK,
    RETURN,
    AUDIT,
    ENDPOINT,
)

UNUSED: Final[dict[str, frozenset[IntEnum]]] = {
    "payment": frozenset({PaymentStatus.NOT_STARTED, PaymentStatus.WAITING}),
    "fail_refund": frozenset({FailRefundStatus.RUNNING}),
    "notify": frozenset({NotifyStatus.WAITING}),
    "message": frozenset({NotifyStatus.RUNNING}),
    "up_payment": frozenset({UpPaymentStatus.WAITING}),
    "money_back": frozenset({MoneyBackStatus.RUNNING}),
}

ENDED: Final = frozenset({OrderStatus.SUCCEEDED, OrderStatus.FAILED, OrderStatus.PARTIAL})

# Handed over or about to be, with the end open.
OPEN_DELIVERIES: Final = frozenset(DELIVERY.sources(DeliveryEvent.FAILED))
OPEN_RETURNS: Final = frozenset(RETURN.sources(ReturnEvent.FAILED))


def yes_no(fact: bool) -> int:
    """The documented number of yes (0) or no (1)."""
    return YesNo.YES if fact else YesNo.NO
