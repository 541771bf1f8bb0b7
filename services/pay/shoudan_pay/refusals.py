"""Refusals of every product of this service; each has more of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, dataclass_transform

from grpc import StatusCode as Code

from shoudan.pay.v1 import error_reason_pb2 as contract
from shoudan_kit.rpc.refusal import Refusal

_WORD: Final = re.compile(r"(?<!^)(?=[A-Z])")


@dataclass_transform()
class PayRefusal(Refusal):
    """A refusal of this service: its name is the contract's reason, its fields are the facts.

    ValueError when the contract has no such reason.
    """

    domain = "pay.shoudan"

    def __init_subclass__(cls, code: Code = Code.FAILED_PRECONDITION) -> None:
        dataclass(cls)
        cls.code, cls.reason = code, f"ERROR_REASON_{_WORD.sub('_', cls.__name__).upper()}"
        contract.ErrorReason.Value(cls.reason)


class AmountInvalid(PayRefusal, code=Code.INVALID_ARGUMENT):
    """[903] 金额错误: zero, of the wrong sign, finer than five decimals of a yuan, or out of range."""

    amount_micros: int


class FieldInvalid(PayRefusal, code=Code.INVALID_ARGUMENT):
    """[406] A field is missing or malformed."""

    field: str
    why: str
