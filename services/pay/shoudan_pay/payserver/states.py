"""The lifecycles of pay orders and refunds, in the documented words."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

# Begins why one waits for a person that was told with another amount than was asked.
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

PAY_MOVES: Final = {
    (_P.UNPAY, _E.ASKED): _P.PAYING,
    (_P.UNPAY, _E.SUCCEEDED): _P.PAYED,
    (_P.UNPAY, _E.FAILED): _P.PAY_FAILED,
    (_P.PAYING, _E.SUCCEEDED): _P.PAYED,
    (_P.PAYING, _E.FAILED): _P.PAY_FAILED,
    (_P.PAYED, _E.PART_GIVEN_BACK): _P.PART_REFUNDED,
    (_P.PAYED, _E.ALL_GIVEN_BACK): _P.REFUNDED,
    (_P.PART_REFUNDED, _E.PART_GIVEN_BACK): _P.PART_REFUNDED,
    (_P.PART_REFUNDED, _E.ALL_GIVEN_BACK): _P.REFUNDED,
    # A person's alone: the end that was told was contradicted, and the other one is true.
    (_P.PAY_FAILED, _E.CORRECTED_SUCCESS): _P.PAYED,
    (_P.PAYED, _E.CORRECTED_FAILED): _P.PAY_FAILED,
    (_P.PART_REFUNDED, _E.PART_TAKEN_BACK): _P.PART_REFUNDED,
    (_P.REFUNDED, _E.PART_TAKEN_BACK): _P.PART_REFUNDED,
    (_P.PART_REFUNDED, _E.ALL_TAKEN_BACK): _P.PAYED,
    (_P.REFUNDED, _E.ALL_TAKEN_BACK): _P.PAYED,
}
REFUND_MOVES: Final = {
    (_R.UN_REFUND, _E.ASKED): _R.REFUNDING,
    (_R.UN_REFUND, _E.SUCCEEDED): _R.REFUNDED,
    (_R.UN_REFUND, _E.FAILED): _R.REFUND_FAILED,
    (_R.REFUNDING, _E.SUCCEEDED): _R.REFUNDED,
    (_R.REFUNDING, _E.FAILED): _R.REFUND_FAILED,
    (_R.REFUND_FAILED, _E.CORRECTED_SUCCESS): _R.REFUNDED,
    (_R.REFUNDED, _E.CORRECTED_FAILED): _R.REFUND_FAILED,
}

# A component's word agrees with a status when nothing needs to change.
AGREES: Final = {
    Event.SUCCEEDED: frozenset(
        {_P.PAYED, _P.PART_REFUNDED, _P.REFUNDED, _R.REFUNDED}  # the words of both lifecycles
    ),
    Event.FAILED: frozenset({_P.PAY_FAILED, _R.REFUND_FAILED}),
}

REFUNDABLE: Final = frozenset({PayStatus.PAYED, PayStatus.PART_REFUNDED})
PAID: Final = REFUNDABLE | {PayStatus.REFUNDED}
OPEN_PAYS: Final = frozenset({PayStatus.UNPAY, PayStatus.PAYING})
OPEN_REFUNDS: Final = frozenset({RefundStatus.UN_REFUND, RefundStatus.REFUNDING})


class Sent(StrEnum):
    """How far a component has been asked; decides what may be done while nobody knows the result."""

    NOT = "not"  # certainly not a byte of it
    MAYBE = "maybe"  # written down before the call, so a dead process leaves this
    HEARD = "heard"  # it has answered running


def advance_pay(status: PayStatus, event: Event) -> PayStatus:
    """The status after the event. KeyError when the event cannot happen then."""
    return PAY_MOVES[status, event]


def advance_refund(status: RefundStatus, event: Event) -> RefundStatus:
    """The status after the event. KeyError when the event cannot happen then."""
    return REFUND_MOVES[status, event]
