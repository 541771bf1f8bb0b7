"""The lifecycles of pay orders and refunds, in the documented words."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from shoudan_kit.state_machine import Machine

# The parked_reason of an order whose component named another amount begins with this.
OTHER_AMOUNT: Final = "was told "


class PayStatus(StrEnum):
    """payOrder.status."""

    UNPAY = "unpay"
    PAYING = "paying"
    PAYED = "payed"
    PAY_FAILED = "payFailed"
    PART_REFUNDED = "partRefunded"
    REFUNDED = "refunded"


class RefundStatus(StrEnum):
    """refundOrder.status."""

    UN_REFUND = "unRefund"
    REFUNDING = "refunding"
    REFUNDED = "refunded"
    REFUND_FAILED = "refundFailed"


class Event(StrEnum):
    """What happens to a pay or a refund."""

    ASKED = "asked"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    PART_GIVEN_BACK = "part_given_back"
    ALL_GIVEN_BACK = "all_given_back"
    CORRECTED_SUCCESS = "corrected_success"
    CORRECTED_FAILED = "corrected_failed"
    PART_TAKEN_BACK = "part_taken_back"
    ALL_TAKEN_BACK = "all_taken_back"


_P, _R, _E = PayStatus, RefundStatus, Event

PAY: Final = Machine(
    name="pay",
    initial=_P.UNPAY,
    moves={
        (_P.UNPAY, _E.ASKED): _P.PAYING,
        (_P.UNPAY, _E.SUCCEEDED): _P.PAYED,
        (_P.UNPAY, _E.FAILED): _P.PAY_FAILED,
        (_P.PAYING, _E.SUCCEEDED): _P.PAYED,
        (_P.PAYING, _E.FAILED): _P.PAY_FAILED,
        (_P.PAYED, _E.PART_GIVEN_BACK): _P.PART_REFUNDED,
        (_P.PAYED, _E.ALL_GIVEN_BACK): _P.REFUNDED,
        (_P.PART_REFUNDED, _E.PART_GIVEN_BACK): _P.PART_REFUNDED,
        (_P.PART_REFUNDED, _E.ALL_GIVEN_BACK): _P.REFUNDED,
        # Only a person corrects: the first result was contradicted, and the other one is true.
        (_P.PAY_FAILED, _E.CORRECTED_SUCCESS): _P.PAYED,
        (_P.PAYED, _E.CORRECTED_FAILED): _P.PAY_FAILED,
        (_P.PART_REFUNDED, _E.PART_TAKEN_BACK): _P.PART_REFUNDED,
        (_P.REFUNDED, _E.PART_TAKEN_BACK): _P.PART_REFUNDED,
        (_P.PART_REFUNDED, _E.ALL_TAKEN_BACK): _P.PAYED,
        (_P.REFUNDED, _E.ALL_TAKEN_BACK): _P.PAYED,
    },
)
REFUND: Final = Machine(
    name="refund",
    initial=_R.UN_REFUND,
    moves={
        (_R.UN_REFUND, _E.ASKED): _R.REFUNDING,
        (_R.UN_REFUND, _E.SUCCEEDED): _R.REFUNDED,
        (_R.UN_REFUND, _E.FAILED): _R.REFUND_FAILED,
        (_R.REFUNDING, _E.SUCCEEDED): _R.REFUNDED,
        (_R.REFUNDING, _E.FAILED): _R.REFUND_FAILED,
        (_R.REFUND_FAILED, _E.CORRECTED_SUCCESS): _R.REFUNDED,
        (_R.REFUNDED, _E.CORRECTED_FAILED): _R.REFUND_FAILED,
    },
)

# A final result agrees with a status when nothing needs to change.
AGREES: Final = {
    Event.SUCCEEDED: frozenset(
        {_P.PAYED, _P.PART_REFUNDED, _P.REFUNDED, _R.REFUNDED}  # the words of both lifecycles
    ),
    Event.FAILED: frozenset({_P.PAY_FAILED, _R.REFUND_FAILED}),
}

REFUNDABLE: Final = frozenset(PAY.sources(Event.PART_GIVEN_BACK))
PAID: Final = REFUNDABLE | {PayStatus.REFUNDED}
OPEN_PAYS: Final = frozenset(PAY.sources(Event.SUCCEEDED))
OPEN_REFUNDS: Final = frozenset(REFUND.sources(Event.SUCCEEDED))


class Sent(StrEnum):
    """How far the call to a component has come; decides what may be done while the result is unknown."""

    NOT = "not"  # certainly not a byte of it was sent
    MAYBE = "maybe"  # stored before the call, so a process that dies in it leaves this
    ANSWERED = "heard"  # the component has answered running


class SentEvent(StrEnum):
    """What happens to the call."""

    CALLED = "called"
    NOT_SENT = "not_sent"
    RUNNING = "running"


SENT: Final = Machine(
    name="sent",
    initial=Sent.NOT,
    moves={
        (Sent.NOT, SentEvent.CALLED): Sent.MAYBE,
        (Sent.MAYBE, SentEvent.NOT_SENT): Sent.NOT,
        (Sent.MAYBE, SentEvent.RUNNING): Sent.ANSWERED,
        (Sent.ANSWERED, SentEvent.NOT_SENT): Sent.NOT,
        (Sent.ANSWERED, SentEvent.RUNNING): Sent.ANSWERED,
    },
)


class TemplateStatus(StrEnum):
    """payModeTemplate.status."""

    ENABLED = "enabled"
    DISABLED = "disabled"


TEMPLATE: Final[Machine[TemplateStatus, Event]] = Machine(
    name="template", initial=TemplateStatus.ENABLED, moves={}
)
