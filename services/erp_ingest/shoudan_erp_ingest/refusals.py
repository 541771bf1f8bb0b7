"""Everything this service says no to: one class per reason of error_reason.proto."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import grpc

from shoudan_kit.rpc.refusal import Refusal

DOMAIN = "erp.shoudan"


class Why(StrEnum):
    """What can be wrong with a push. The words for partners are the gateway's."""

    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    TOO_MANY = "too_many"
    DUPLICATE_KEY = "duplicate_key"
    LONE_SURROGATE = "lone_surrogate"
    NUL = "nul"
    WRONG_SHAPE = "wrong_shape"
    MISSING = "missing"
    EMPTY = "empty"
    NOT_TEXT = "not_text"
    TOO_LONG = "too_long"
    NOT_DECIMAL = "not_decimal"
    NOT_WHOLE = "not_whole"
    OUT_OF_RANGE = "out_of_range"
    NOT_TIME = "not_time"
    INTERNAL = "internal"


@dataclass
class SenderUnknown(Refusal):
    """The customer or app key is not on the list; nothing was stored. Source: 001 参数说明."""

    code = grpc.StatusCode.PERMISSION_DENIED
    domain: ClassVar[str] = DOMAIN
    reason = "ERROR_REASON_SENDER_UNKNOWN"
    sender: str


@dataclass
class SenderUnverified(Refusal):
    """Its signature or its network is wrong; nothing was stored."""

    code = grpc.StatusCode.PERMISSION_DENIED
    domain: ClassVar[str] = DOMAIN
    reason = "ERROR_REASON_SENDER_UNVERIFIED"
    sender: str


@dataclass
class PushInvalid(Refusal):
    """The push cannot be read or breaks a rule; it is quarantined whole."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    domain: ClassVar[str] = DOMAIN
    reason = "ERROR_REASON_PUSH_INVALID"
    where: str
    why: str


@dataclass
class NotFound(Refusal):
    """Nothing has this number."""

    code = grpc.StatusCode.NOT_FOUND
    domain: ClassVar[str] = DOMAIN
    reason = "ERROR_REASON_NOT_FOUND"
    what: str
    id: str


@dataclass
class FieldInvalid(Refusal):
    """A field of a call is missing or malformed."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    domain: ClassVar[str] = DOMAIN
    reason = "ERROR_REASON_FIELD_INVALID"
    field: str
    why: str
