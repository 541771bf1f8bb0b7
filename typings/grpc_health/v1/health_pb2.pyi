"""Messages of the health protocol."""

from collections.abc import Callable, Mapping
from typing import Final

class HealthCheckRequest:
    def __init__(self, *, service: str = "") -> None: ...

class HealthCheckResponse:
    class ServingStatus:
        Name: Callable[[int], str]
        Value: Callable[[str], int]

    SERVING: Final = 1
    NOT_SERVING: Final = 2
    status: int
    def __init__(self, *, status: int = 0) -> None: ...

class HealthListRequest: ...

class HealthListResponse:
    statuses: Mapping[str, HealthCheckResponse]
    def __init__(self, *, statuses: Mapping[str, HealthCheckResponse] = ...) -> None: ...
