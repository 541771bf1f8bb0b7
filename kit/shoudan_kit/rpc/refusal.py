"""Refusals: the expected "no", carried whole across gRPC and inside batch answers.

A refusal is logged at info and never paged. Anything else that escapes a servicer is a bug.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, ClassVar, Final, cast, dataclass_transform

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode as Code
from grpc_status import rpc_status

from shoudan.core.v1 import core_pb2, error_reason_pb2

# gRPC trailers are limited to 8 KiB for everything together, so facts are cut, never the refusal.
FACT_CHARS_MAX = 256
MESSAGE_CHARS_MAX = 512
_WORD: Final = re.compile(r"(?<!^)(?=[A-Z])")


@dataclass
class Refusal(Exception):
    """Subclass once per reason. The fields of the subclass are its facts; None is left out."""

    code: ClassVar[Code]
    domain: ClassVar[str]
    reason: ClassVar[str]

    @property
    def metadata(self) -> dict[str, str]:
        """The facts as text, as they travel."""
        facts = ((f.name, getattr(self, f.name)) for f in fields(self))
        return {name: str(value)[:FACT_CHARS_MAX] for name, value in facts if value is not None}

    def __str__(self) -> str:
        return _text(self.reason, self.metadata)

    def to_proto(self) -> core_pb2.Refusal:
        """The refusal of one item of a batch."""
        return _proto(self.code, self.domain, self.reason, self.metadata)

    def to_status(self) -> status_pb2.Status:
        """The google.rpc.Status of a refused call: our code, the message, one ErrorInfo."""
        return _status(self.code, self.domain, self.reason, self.metadata)


@dataclass
class Refused(Exception):
    """A refusal as the caller of another service sees it; raised again, it passes through unchanged."""

    code: Code
    domain: str
    reason: str
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])

    def __str__(self) -> str:
        return _text(self.reason, self.metadata)

    def to_proto(self) -> core_pb2.Refusal:
        """The refusal of one item of a batch."""
        return _proto(self.code, self.domain, self.reason, self.metadata)

    def to_status(self) -> status_pb2.Status:
        """The google.rpc.Status of a refused call: our code, the message, one ErrorInfo."""
        return _status(self.code, self.domain, self.reason, self.metadata)


@dataclass_transform()
class NamedRefusal(Refusal):
    """A refusal that is named after its reason in a contract; its fields are the facts.

    A service declares one base with its `domain` and the `reasons` of its contract, and below it a class for
    each reason. ValueError when the contract has no such reason.
    """

    reasons: ClassVar[Any]  # the enum ErrorReason, of which stubs and code disagree what it is

    def __init_subclass__(cls, code: Code = Code.FAILED_PRECONDITION) -> None:
        if "reasons" in vars(cls):
            return
        dataclass(cls)
        cls.code, cls.reason = code, f"ERROR_REASON_{_WORD.sub('_', cls.__name__).upper()}"
        cls.reasons.Value(cls.reason)


class KitRefusal(NamedRefusal):
    """A refusal of what all services have in common."""

    domain, reasons = "kit.shoudan", error_reason_pb2.ErrorReason


class Overloaded(KitRefusal, code=Code.RESOURCE_EXHAUSTED):
    """More is waiting than may wait; nothing was begun, so the same call may be made again later."""

    name: str
    waiting_max: int


class ShuttingDown(KitRefusal, code=Code.UNAVAILABLE):
    """This process takes no new work; nothing was begun, another replica will take the call."""

    name: str


class DeadlineTooShort(KitRefusal, code=Code.DEADLINE_EXCEEDED):
    """Less time is left than an answer takes; nothing was begun."""

    left_ms: int
    needed_ms: int


def _text(reason: str, metadata: Mapping[str, str]) -> str:
    shown = ", ".join(f"{name}={value}" for name, value in metadata.items())
    return f"{reason}({shown})"[:MESSAGE_CHARS_MAX]


def _proto(code: Code, domain: str, reason: str, metadata: Mapping[str, str]) -> core_pb2.Refusal:
    return core_pb2.Refusal(
        code=code_number(code),
        domain=domain,
        reason=reason,
        metadata=metadata,
        message=_text(reason, metadata),
    )


def _status(code: Code, domain: str, reason: str, metadata: Mapping[str, str]) -> status_pb2.Status:
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata))
    return status_pb2.Status(
        code=code_number(code), message=_text(reason, metadata), details=[detail]
    )


def code_number(code: Code) -> int:
    """The google.rpc.Code number of `code`."""
    return cast("tuple[int, str]", code.value)[0]


@cache
def code_of(number: int) -> Code:
    """The code with this number; UNKNOWN for undefined numbers."""
    found = (code for code in Code if code_number(code) == number)
    return next(found, Code.UNKNOWN)


def refused_from_rpc(error: grpc.RpcError) -> Refused | None:
    """The refusal inside `error`, or None when the call itself failed."""
    call = cast("grpc.Call", error)
    try:
        status = rpc_status.from_call(call)
    except ValueError:  # details that contradict the code come from no server of ours
        return None
    if status is None:
        return None
    info = error_details_pb2.ErrorInfo()
    if not any(detail.Unpack(info) for detail in status.details):
        return None
    return Refused(call.code(), info.domain, info.reason, dict(info.metadata))


def refused_from_proto(refusal: core_pb2.Refusal) -> Refused:
    """The refusal of one item of a batch answer."""
    return Refused(code_of(refusal.code), refusal.domain, refusal.reason, dict(refusal.metadata))
