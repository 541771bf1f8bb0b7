"""How long a call may take: what its caller has left, less the way home."""

from __future__ import annotations

from typing import Final, cast

from shoudan_kit.rpc.messages import RpcContext
from shoudan_kit.rpc.refusal import DeadlineTooShort

NEEDED_S: Final = 0.05  # a call with less left would be answered too late
HOP_S: Final = 0.1  # what is kept back for the way home when a deadline is handed inward


def deadline(context: RpcContext, max_s: float) -> float:
    """Seconds a call inward may take: what is left of ours less 100 ms, at most `max_s`.

    Raises DeadlineTooShort when that leaves nothing worth beginning.
    """
    left = time_left(context)
    if left is None:
        return max_s
    if left - HOP_S < NEEDED_S:
        raise too_short(left, HOP_S + NEEDED_S)
    return min(max_s, left - HOP_S)


def too_short(left_s: float, needed_s: float) -> DeadlineTooShort:
    """The refusal of a call that has `left_s` left and needs `needed_s`."""
    return DeadlineTooShort(max(0, int(left_s * 1000)), int(needed_s * 1000))


def time_left(context: RpcContext) -> float | None:
    # The stubs say float; without a deadline the library gives None.
    return cast("float | None", context.time_remaining())
