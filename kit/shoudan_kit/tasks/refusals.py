"""The refusals of operations: one class per reason of the contract."""

from __future__ import annotations

from grpc import StatusCode as Code

from shoudan_kit.rpc.refusal import KitRefusal


class ClockFixed(KitRefusal):
    """The clock is the machine's."""

    why: str


class ClockOutOfRange(KitRefusal, code=Code.INVALID_ARGUMENT):
    """Time does not go back, and not on for ever."""

    shift_s: int
    from_s: int
    to_s: int
