"""What every product of this service says no to; each has more of its own."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from shoudan_kit.rpc.refusal import Refusal


class PayRefusal(Refusal):
    """A refusal of this service."""

    domain = "pay.shoudan"


@dataclass
class AmountInvalid(PayRefusal):
    """[903] 金额错误: zero, of the wrong sign, finer than five decimals of a yuan, or out of range."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "ERROR_REASON_AMOUNT_INVALID"
    amount_micros: int


@dataclass
class FieldInvalid(PayRefusal):
    """[406] A field is missing or malformed."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "ERROR_REASON_FIELD_INVALID"
    field: str
    why: str
