"""Refusals of every product of this service; each has more of its own."""

from __future__ import annotations

from grpc import StatusCode as Code

from shoudan.pay.v1 import error_reason_pb2
from shoudan_kit.rpc.refusal import NamedRefusal


class PayRefusal(NamedRefusal):
    """A refusal of this service."""

    domain, reasons = "pay.shoudan", error_reason_pb2.ErrorReason


class AmountInvalid(PayRefusal, code=Code.INVALID_ARGUMENT):
    """[903] 金额错误: zero, of the wrong sign, finer than five decimals of a yuan, or out of range."""

    amount_micros: int


class FieldInvalid(PayRefusal, code=Code.INVALID_ARGUMENT):
    """[406] A field is missing or malformed."""

    field: str
    why: str
