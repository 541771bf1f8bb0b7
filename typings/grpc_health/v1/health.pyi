"""The library's servicer of the health protocol."""

from typing import Final

class aio:
    class HealthServicer:
        _server_status: dict[str, int]
        async def set(self, service: str, status: int) -> None: ...
        async def enter_graceful_shutdown(self) -> None: ...

SERVICE_NAME: Final[str]
