"""The listener of browsers: uvicorn inside a process whose loop and signals are the chassis'."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import uvicorn
from starlette.types import ASGIApp

BACKLOG: Final = 512
HEAD_BYTES_MAX: Final = 32_768
KEEP_ALIVE_S: Final = 30


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Says when it listens."""
        await super().startup(sockets)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """The chassis has taken them."""
        yield


class Listener:
    """One listening address with the site behind it."""

    def __init__(self, app: ASGIApp, host: str, port: int, connections_max: int) -> None:
        self._socket = socket.create_server((host, port), backlog=BACKLOG)
        self.port = int(self._socket.getsockname()[1])
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=connections_max,
            timeout_keep_alive=KEEP_ALIVE_S,
            h11_max_incomplete_event_size=HEAD_BYTES_MAX,
            backlog=BACKLOG,
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Accept connections."""
        self._task = asyncio.create_task(self._server.serve([self._socket]), name="browsers")
        await self._server.listening.wait()

    async def stop(self) -> None:
        """Take no new connections, answer what is in flight."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
