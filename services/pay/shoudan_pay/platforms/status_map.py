"""How PayServer's statuses read in the words of the platforms."""

from __future__ import annotations

from typing import Final

from shoudan_pay.payserver.protocol import AnswerKind, ComponentAnswer
from shoudan_pay.payserver.states import RefundStatus
from shoudan_pay.platforms.states import RefundState

REFUND_STATES: Final = {
    RefundStatus.UN_REFUND: RefundState.PROCESSING,
    RefundStatus.REFUNDING: RefundState.PROCESSING,
    RefundStatus.REFUNDED: RefundState.SUCCESS,
    RefundStatus.REFUND_FAILED: RefundState.FAIL,
}
WORDS: Final = {
    "success": AnswerKind.SUCCESS,
    "fail": AnswerKind.FAILED,
    "processing": AnswerKind.RUNNING,
    "notpay": AnswerKind.RUNNING,
    "unknown": AnswerKind.UNKNOWN,
}


def refund_state(status: str) -> RefundState:
    """Of a refund."""
    return REFUND_STATES[RefundStatus(status)]


def component_answer(state: str, third_no: str = "", reason: str = "") -> ComponentAnswer:
    """A state as PayServer's component answer."""
    return ComponentAnswer(WORDS[state], third_no or None, reason)
