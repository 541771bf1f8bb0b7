"""The lifecycle of refunds that go through ChinaUMS and Dingdang."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from shoudan_kit.state_machine import Machine


class RefundState(StrEnum):
    """How a refund stands that another platform gives back."""

    UNKNOWN = "unknown"
    PROCESSING = "processing"
    SUCCESS = "success"
    FAIL = "fail"


_R = RefundState

# The state that a platform reports is the event: it moves what is open; what has ended stays.
REFUND: Final = Machine(
    name="refund",
    initial=_R.UNKNOWN,
    moves={
        (was, reported): reported
        for was in (_R.UNKNOWN, _R.PROCESSING)
        for reported in (_R.PROCESSING, _R.SUCCESS, _R.FAIL)
    },
)
REFUND_OPEN: Final = REFUND.sources(RefundState.SUCCESS)
REFUND_ENDED: Final = REFUND.final
