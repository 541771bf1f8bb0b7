"""Everything this service says no to: one class per reason of error_reason.proto."""

from __future__ import annotations

from enum import StrEnum

from grpc import StatusCode as Code

from shoudan.erp.v1 import error_reason_pb2
from shoudan_kit.rpc.refusal import NamedRefusal


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


class ErpRefusal(NamedRefusal):
    """A refusal of this service."""

    domain, reasons = "erp.shoudan", error_reason_pb2.ErrorReason


class SenderUnknown(ErpRefusal, code=Code.PERMISSION_DENIED):
    """The customer or app key is not on the list; nothing was stored. Source: 001 参数说明."""

    sender: str


class SenderUnverified(ErpRefusal, code=Code.PERMISSION_DENIED):
    """Its signature or its network is wrong; nothing was stored."""

    sender: str


class PushInvalid(ErpRefusal, code=Code.INVALID_ARGUMENT):
    """The push cannot be read or breaks a rule; it is quarantined whole."""

    where: str
    why: str


class NotFound(ErpRefusal, code=Code.NOT_FOUND):
    """Nothing has this number."""

    what: str
    id: str


class FieldInvalid(ErpRefusal, code=Code.INVALID_ARGUMENT):
    """A field of a call is missing or malformed."""

    field: str
    why: str
