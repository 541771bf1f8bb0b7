"""A link between two processes that carries what is sent, until a fault is put on it.

The faults are those of networks: slow, silent both ways or one way, reset, known to one end only, cut into
small pieces. What is silent keeps the bytes and passes them when it is mended, as TCP does after packets were
lost for a while.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from shoudan_kit.process.shutdown import cancel_all
from tests.chaos.lasting import lasting

LOOPBACK = "127.0.0.1"
CHUNK = 65_536
PIECES = 64  # of a chunk that is sliced, the rest passes in one
PIECE_BYTES = 3
PIECE_S = 0.001
NO_LINGER = struct.pack("ii", 1, 0)

UP, DOWN = "up", "down"  # to whom is called, and back


@dataclass(eq=False)
class Carried:
    """One connection: who called, and whom it was called for."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    pumps: list[asyncio.Task[None]] = field(default_factory=list)

    def drop(self, end: asyncio.StreamWriter) -> None:
        """One end learns that the connection is gone, by a reset; the other is told nothing."""
        for pump in self.pumps:
            pump.cancel()
        reset(end)


class Link:
    """Forwards connections to a port."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.latency_s = 0.0
        self.sliced = False
        self._open = {UP: asyncio.Event(), DOWN: asyncio.Event()}
        self._carried: set[Carried] = set()
        self._kept: list[asyncio.StreamWriter] = []  # ends that were told nothing
        self.mend()

    def cut(self, *ways: str) -> None:
        """What is sent these ways from now on waits, as behind a dead switch; both without any named."""
        for way in ways or (UP, DOWN):
            self._open[way].clear()

    def mend(self) -> None:
        """Everything passes again; ends that wait for nobody learn it now."""
        self.latency_s, self.sliced = 0.0, False
        for event in self._open.values():
            event.set()
        for end in self._kept:
            reset(end)
        self._kept.clear()

    def reset(self) -> int:
        """Both ends of every connection learn that it is gone. How many there were."""
        return self._drop(near=True, far=True)

    def half_open(self) -> int:
        """Who called learns that the connection is gone; whom it called does not, until it is mended."""
        return self._drop(near=True, far=False)

    def orphan(self) -> int:
        """Who was called is gone; who called waits and is told nothing, until it is mended."""
        return self._drop(near=False, far=True)

    def _drop(self, *, near: bool, far: bool) -> int:
        dropped = list(self._carried)
        self._carried.clear()
        for one in dropped:
            for end, told in ((one.near, near), (one.far, far)):
                if told:
                    one.drop(end)
                else:
                    self._kept.append(end)
        return len(dropped)

    async def connected(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        """One connection, both ways."""
        await self._open[UP].wait()
        try:
            there, far = await asyncio.open_connection(LOOPBACK, self.target)
        except OSError:
            reset(near)
            return
        one = Carried(near, far)
        self._carried.add(one)
        for ends in ((UP, reader, far), (DOWN, there, near)):
            one.pumps.append(asyncio.create_task(self._pump(*ends)))
        await asyncio.gather(*one.pumps, return_exceptions=True)
        if one in self._carried:
            self._carried.discard(one)
            for end in (near, far):
                end.close()

    async def _pump(
        self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK):
                await self._open[way].wait()
                if self.latency_s:
                    await lasting(self.latency_s)
                await self._write(writer, chunk)
        with suppress(OSError, RuntimeError):
            writer.write_eof() if writer.can_write_eof() else writer.close()

    async def _write(self, writer: asyncio.StreamWriter, chunk: bytes) -> None:
        for _ in range(PIECES if self.sliced else 0):
            piece, chunk = chunk[:PIECE_BYTES], chunk[PIECE_BYTES:]
            writer.write(piece)
            await writer.drain()
            await lasting(PIECE_S)
            if not chunk:
                return
        writer.write(chunk)
        await writer.drain()

    async def aclose(self) -> None:
        """End all connections."""
        self.mend()
        pumps = [pump for one in self._carried for pump in one.pumps]
        self.reset()
        await cancel_all(pumps)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of an end, what is unsent lost."""
    made = writer.get_extra_info("socket")
    with suppress(OSError):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    writer.transport.abort()


@asynccontextmanager
async def linked(target: int, port: int = 0) -> AsyncGenerator[Link]:
    """Listens on a port of this machine, a free one unless it is named, for `target`."""
    link = Link(target)
    server = await asyncio.start_server(link.connected, LOOPBACK, port, backlog=512)
    link.port = server.sockets[0].getsockname()[1]
    try:
        yield link
    finally:
        server.close()
        await link.aclose()
