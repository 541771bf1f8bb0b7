"""Calls of the health protocol."""

from collections.abc import Callable
from typing import Any

from grpc import aio

class HealthStub:
    Check: Any
    List: Any
    def __init__(self, channel: aio.Channel) -> None: ...

add_HealthServicer_to_server: Callable[[object, object], None]
