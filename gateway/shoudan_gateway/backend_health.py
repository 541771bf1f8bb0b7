"""Which services behind the gateway answer, over the same links its calls take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import grpc
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from shoudan_gateway.config import BACKENDS, GatewaySettings
from shoudan_kit import metrics
from shoudan_kit.log import get_logger

CHECK_EVERY_S: Final = 2.0
CHECK_S_MAX: Final = 1.0

_log = get_logger("gateway.backend_health")
_SERVING = health_pb2.HealthCheckResponse.SERVING


class BackendHealth:
    """The last look at each service: None when it serves, else why not."""

    def __init__(self, settings: GatewaySettings, channel: Callable[[str], aio.Channel]) -> None:
        self._needed = frozenset(settings.ready_backends)
        self._stubs: dict[str, Any] = {
            name: health_pb2_grpc.HealthStub(channel(name)) for name in BACKENDS
        }
        self._reasons: dict[str, str | None] = dict.fromkeys(BACKENDS, "not asked yet")

    async def ready(self) -> str | None:
        """Why the gateway cannot serve: a service of `ready_backends` is gone, or all are."""
        gone = {name: why for name, why in self._reasons.items() if why is not None}
        if not self._needed & gone.keys() and len(gone) < len(BACKENDS):
            return None
        return ", ".join(f"{name}: {why}" for name, why in gone.items())

    async def run(self) -> None:
        """Look at every service, again and again."""
        while True:
            await asyncio.gather(*map(self._look, BACKENDS))
            await asyncio.sleep(CHECK_EVERY_S)

    async def _look(self, name: str) -> None:
        why = await self._ask(name)
        metrics.BACKEND_UP(name).set(why is None)
        if why != self._reasons[name]:
            (_log.warning if why else _log.info)("backend", backend=name, reason=why)
        self._reasons[name] = why

    async def _ask(self, name: str) -> str | None:
        try:
            answer = await self._stubs[name].Check(
                health_pb2.HealthCheckRequest(), timeout=CHECK_S_MAX
            )
        except aio.AioRpcError as error:
            # A server without a health service has answered, too.
            gone = error.code() is not grpc.StatusCode.UNIMPLEMENTED
            return error.code().name.lower() if gone else None
        return None if answer.status == _SERVING else "not serving"
