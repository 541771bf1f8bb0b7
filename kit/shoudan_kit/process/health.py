"""The operators' HTTP port of a process: is it alive, is it ready, what has it counted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import orjson
from aiohttp import web

from shoudan_kit import log, metrics

Check = Callable[[], Awaitable[str | None]]

CHECK_S_MAX: Final = 2.0

_log = log.get_logger("health")


class OpsServer:
    """GET /healthz, /readyz and /metrics.

    /healthz is 503 only when this process itself is broken, because its caller restarts the
    process; a missing database is no reason to. /readyz is 503 before the start is over, while draining,
    and when a check gives a reason.
    """

    def __init__(
        self,
        host: str,
        port: int,
        checks: Mapping[str, Check],
        *,
        alive: Mapping[str, Check] | None = None,
        check_s_max: float = CHECK_S_MAX,
    ) -> None:
        """A check gives None or the reason why not. `port` 0 serves nothing, -1 any free port."""
        self._host, self.port = host, port
        self._checks, self._alive = dict(checks), dict(alive or {})
        self._check_s_max = check_s_max
        self._state = "starting"
        self._runner: web.AppRunner | None = None

    def add_checks(self, checks: Mapping[str, Check]) -> None:
        """Checks that exist only once the service is composed."""
        self._checks.update(checks)

    def set_ready(self) -> None:
        """The start is over."""
        self._state = "ready"

    def set_draining(self) -> None:
        """No new work from now on; /readyz says so, so that no more is sent."""
        self._state = "draining"

    async def start(self) -> int:
        """Serve; gives the port, 0 when none is served."""
        if self.port == 0:
            return 0
        app = web.Application(client_max_size=1024)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        self._runner = runner
        await web.TCPSite(runner, self._host, max(self.port, 0)).start()
        self.port = runner.addresses[0][1]
        return self.port

    async def stop(self) -> None:
        """Close the port."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def reasons(self) -> dict[str, str]:
        """Why this process is not ready, by check; empty when it is."""
        return await self.failing(self._checks)

    async def failing(self, checks: Mapping[str, Check]) -> dict[str, str]:
        """The reasons of those of `checks` that have one."""
        reasons = await asyncio.gather(*(self._ask(n, check) for n, check in checks.items()))
        return {name: why for name, why in zip(checks, reasons, strict=True) if why}

    async def _ask(self, name: str, check: Check) -> str | None:
        try:
            async with asyncio.timeout(self._check_s_max):
                return await check()
        except TimeoutError:
            return f"no answer within {self._check_s_max:g} s"
        except Exception as error:  # noqa: BLE001 - a broken check is a failed one
            _log.warning("check_failed", check=name, exc_info=error)
            return f"failed with {type(error).__name__}"

    async def _healthz(self, request: web.Request) -> web.Response:
        return _answer(await self.failing(self._alive))

    async def _readyz(self, request: web.Request) -> web.Response:
        if self._state != "ready":
            return _answer({"process": self._state})
        return _answer(await self.reasons())

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(
            body=metrics.exposition(), headers={"Content-Type": metrics.CONTENT_TYPE}
        )


def _answer(reasons: Mapping[str, str]) -> web.Response:
    body = orjson.dumps({"status": "failing" if reasons else "ok", "reasons": reasons})
    return web.Response(
        body=body,
        status=503 if reasons else 200,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
