"""Promises of the link: each fault is the one it is named after, and mending takes it away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from tests.chaos.proxy import DOWN, LOOPBACK, UP, Link, linked
from tests.poll import eventually

SILENCE_S = 0.2


@dataclass
class Far:
    """The server behind the link: answers what it is sent in capitals, counts pieces, knows who left."""

    pieces: list[bytes] = field(default_factory=list)
    left: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(65_536):
                self.pieces.append(piece)
                writer.write(piece.upper())
                await writer.drain()
        except OSError:
            pass
        self.left += 1
        writer.close()

    @property
    def text(self) -> bytes:
        return b"".join(self.pieces)


@dataclass
class Near:
    """A client that has called over the link."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self, text: bytes) -> bytes:
        self.writer.write(text)
        return await asyncio.wait_for(self.reader.readexactly(len(text)), 10)

    async def silent(self) -> bool:
        """Whether nothing comes for a while."""
        try:
            await asyncio.wait_for(self.reader.read(1), SILENCE_S)
        except TimeoutError:
            return True
        return False


@pytest.fixture
def far() -> Far:
    return Far()


@pytest.fixture
async def link(far: Far) -> AsyncIterator[Link]:
    server = await asyncio.start_server(far.serve, LOOPBACK, 0)
    async with linked(server.sockets[0].getsockname()[1]) as made:
        yield made
    server.close()


@pytest.fixture
async def near(link: Link) -> AsyncIterator[Near]:
    made = Near(*await asyncio.open_connection(LOOPBACK, link.port))
    yield made
    made.writer.close()


async def test_a_whole_link_carries_both_ways(near: Near) -> None:
    assert await near.answer(b"one") == b"ONE"
    assert await near.answer(b"x" * 200_000) == b"X" * 200_000


async def test_what_is_silent_one_way_is_carried_the_other_and_comes_when_it_is_mended(
    link: Link, near: Near, far: Far
) -> None:
    assert await near.answer(b"a") == b"A"
    link.cut(DOWN)
    near.writer.write(b"b")
    await eventually(lambda: far.text == b"ab")
    assert await near.silent()
    link.mend()
    assert await asyncio.wait_for(near.reader.readexactly(1), 10) == b"B"
    link.cut(UP)
    near.writer.write(b"c")
    assert await near.silent()
    assert far.text == b"ab"
    link.mend()
    assert await asyncio.wait_for(near.reader.readexactly(1), 10) == b"C"


async def test_a_reset_is_learnt_by_both_ends(link: Link, near: Near, far: Far) -> None:
    await near.answer(b"a")
    assert link.reset() == 1
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(near.reader.read(1), 10)
    await eventually(lambda: far.left == 1)


async def test_a_half_open_connection_is_known_to_be_gone_by_who_called_alone(
    link: Link, near: Near, far: Far
) -> None:
    await near.answer(b"a")
    assert link.half_open() == 1
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(near.reader.read(1), 10)
    assert far.left == 0
    link.mend()
    await eventually(lambda: far.left == 1)


async def test_an_orphan_waits_for_who_is_gone(link: Link, near: Near, far: Far) -> None:
    await near.answer(b"a")
    assert link.orphan() == 1
    await eventually(lambda: far.left == 1)
    assert await near.silent()
    link.mend()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(near.reader.read(1), 10)


async def test_a_sliced_text_comes_whole_and_in_pieces(link: Link, near: Near, far: Far) -> None:
    link.sliced = True
    assert await near.answer(b"abcdefghijkl") == b"ABCDEFGHIJKL"
    assert max(len(piece) for piece in far.pieces) < 12


async def test_latency_keeps_the_order(link: Link, near: Near) -> None:
    link.latency_s = 0.01
    assert [await near.answer(one) for one in (b"a", b"b", b"c")] == [b"A", b"B", b"C"]


async def test_who_calls_where_nobody_is_is_told_so(link: Link) -> None:
    link.target = 1
    reader, writer = await asyncio.open_connection(LOOPBACK, link.port)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(1), 10)
    writer.close()
