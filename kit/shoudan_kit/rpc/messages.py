"""What both ends of a gRPC call agree on: the sizes of messages what travels with them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final, TypeAlias, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

M = TypeVar("M", bound=Message)

RpcContext: TypeAlias = "aio.ServicerContext[Any, Any]"  # of every call of every servicer
Options = Sequence[tuple[str, int | str]]
AUTHORIZATION: Final = "authorization"
# The address of who asked the gateway's internal port, with what it hands on.
CALLED_FROM: Final = "x-shoudan-called-from"
BEARER: Final = "Bearer "
METADATA_BYTES_MAX: Final = 48 * 1024  # the traces of 256 items with request ids of callers
MESSAGE_BYTES_MAX: Final = 16 * 2**20  # 1000 items of 8 KiB with room; gRPC's 4 MiB is too small


ONE_SHARD: Final = "shard is 0: the service has one"


def size_options(message_bytes_max: int) -> list[tuple[str, int | str]]:
    """The channel arguments that bound messages and metadata, alike at both ends."""
    return [
        ("grpc.max_receive_message_length", message_bytes_max),
        ("grpc.max_send_message_length", message_bytes_max),
        ("grpc.max_metadata_size", METADATA_BYTES_MAX),
    ]


def filled(kind: type[M], value: object, **more: Any) -> M:
    """A message of a value's attributes by the names of its fields; `more` has the others.

    None is left out, a datetime becomes a Timestamp, a text fills a bytes field as UTF-8. Raises
    AttributeError for a field that neither names, so that none is forgotten.
    """
    fields: dict[str, Any] = {}
    for name, is_bytes in _fields(kind):
        found = more[name] if name in more else getattr(value, name)
        if found is None:
            continue
        if isinstance(found, datetime):
            found = stamp(found)
        elif is_bytes and isinstance(found, str):
            found = found.encode()
        fields[name] = found
    return kind(**fields)


@cache  # kinds are as many as the contract has
def _fields(kind: type[Message]) -> tuple[tuple[str, bool], ...]:
    """Name of each field, and whether it holds bytes."""
    return tuple((one.name, one.type == one.TYPE_BYTES) for one in kind.DESCRIPTOR.fields)


def stamp(time: datetime) -> Timestamp:
    """A time as it travels, exact to the microsecond."""
    made = Timestamp()
    made.FromDatetime(time)
    return made
