"""The call inside a proposal: bytes that are wholly understood, and shown wholly."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from shoudan_kit.proposals.kinds import Kind
from shoudan_kit.proposals.refusals import ProposalInvalid
from shoudan_kit.rpc.caller import Caller
from shoudan_kit.rpc.callers import Access, access_of

REQUEST_BYTES_MAX: Final = 2**20


def access(kind: Kind) -> Access:
    """What the contract says of the method."""
    service, _, method = kind.method.partition("/")
    return access_of(service, method)


def read(kind: Kind, data: bytes, maker: Caller) -> Message:
    """The request, with its maker as who does it. Raises ProposalInvalid.

    What is approved must be what was seen, so a request that its JSON does not show whole is refused: one
    with fields of another release.
    """
    if len(data) > REQUEST_BYTES_MAX:
        raise ProposalInvalid("request", f"has more than {REQUEST_BYTES_MAX} bytes")
    message = kind.request()
    try:
        message.ParseFromString(data)
        shown = json_format.ParseDict(json_format.MessageToDict(message), kind.request())
    except (DecodeError, json_format.Error, ValueError):
        raise ProposalInvalid("request", f"is no request of {kind.method}") from None
    if written(shown) != written(message):
        raise ProposalInvalid("request", "has fields that this service does not know")
    access(kind).fill_doer(message, maker)
    return message


def written(message: Message) -> bytes:
    """The bytes of a message, the same for the same content."""
    return message.SerializeToString(deterministic=True)


def as_json(message: Message) -> str:
    """The whole message for people."""
    options: Any = {"preserving_proto_field_name": True, "indent": None, "ensure_ascii": False}
    return json_format.MessageToJson(message, **options)
