"""What both ends of a gRPC call agree on: the sizes of messages and the request id that travels with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from grpc import aio

RpcContext: TypeAlias = "aio.ServicerContext[Any, Any]"  # of every call of every servicer
Options = Sequence[tuple[str, int | str]]
REQUEST_ID: Final = "x-request-id"
MESSAGE_BYTES_MAX: Final = 16 * 2**20  # 1000 items of 8 KiB with room; gRPC's 4 MiB is too small


def size_options(message_bytes_max: int) -> list[tuple[str, int | str]]:
    """The channel arguments that bound messages and metadata, alike at both ends."""
    return [
        ("grpc.max_receive_message_length", message_bytes_max),
        ("grpc.max_send_message_length", message_bytes_max),
        ("grpc.max_metadata_size", 8 * 1024),
    ]
