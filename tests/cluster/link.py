"""A link between two processes that can be cut: nothing passes either way, and nobody is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

LOOPBACK = "127.0.0.1"
CHUNK = 65_536


class Link:
    """Forwards connections to a port, until it is cut and from when it is mended."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._whole = asyncio.Event()
        self._whole.set()
        self._pumps: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """What is sent from now on waits, as behind a dead switch."""
        self._whole.clear()

    def mend(self) -> None:
        """Everything passes again."""
        self._whole.set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, both ways."""
        await self._whole.wait()
        try:
            there, back = await asyncio.open_connection(LOOPBACK, self._target)
        except OSError:
            writer.close()
            return
        for ends in ((reader, back), (there, writer)):
            pump = asyncio.create_task(self._pump(*ends))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK):
                await self._whole.wait()
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def aclose(self) -> None:
        """End all connections."""
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)


@asynccontextmanager
async def linked(port: int, target: int) -> AsyncGenerator[Link]:
    """Listens on a port of this machine for `target`."""
    link = Link(target)
    server = await asyncio.start_server(link.connected, LOOPBACK, port)
    try:
        yield link
    finally:
        server.close()
        await link.aclose()
