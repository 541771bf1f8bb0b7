"""Refusals of every product of this service; each has more of its own."""

from __future__ import annotations

from grpc import StatusCode as Code

from shoudan_kit.rpc.refusal import Refusal


class PayRefusal(Refusal):
    """A refusal of this service."""

    domain = "pay.shoudan"


class AmountInvalid(PayRefusal, code=Code.INVALID_ARGUMENT, reason="ERROR_REASON_AMOUNT_INVALID"):
    """[903] 金额错误: zero, of the wrong sign, finer than five decimals of a yuan, or out of range."""

    amount_micros: int


class FieldInvalid(PayRefusal, code=Code.INVALID_ARGUMENT, reason="ERROR_REASON_FIELD_INVALID"):
    """[406] A field is missing or malformed."""

    field: str
    why: str
