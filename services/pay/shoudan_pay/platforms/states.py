"""The lifecycle of refunds that go through ChinaUMS and Dingdang."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class RefundState(StrEnum):
    """How a refund stands that another platform gives back."""

    UNKNOWN = "unknown"
    PROCESSING = "processing"
    SUCCESS = "success"
    FAIL = "fail"


_R = RefundState

# What is told may move what is open; what has ended stays, and a contradiction is written down.
REFUND_MOVES: Final = {
    (was, told): told
    for was in (_R.UNKNOWN, _R.PROCESSING)
    for told in (_R.PROCESSING, _R.SUCCESS, _R.FAIL)
}
REFUND_ENDED: Final = frozenset({_R.SUCCESS, _R.FAIL})


def advance_refund(was: RefundState, told: RefundState) -> RefundState | None:
    """The state after what was told; None when nothing moves."""
    return REFUND_MOVES.get((was, told)) if was is not told else None
