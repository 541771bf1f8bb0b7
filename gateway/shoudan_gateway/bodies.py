"""Bodies that are still arriving: bounded in time, per sender and in all, before a request takes a place."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError

from shoudan_gateway.protocol import GatewayError, Problem


class UnreadBodies:
    """The bodies being waited for, by address.

    Beyond `address_max` a sender is refused (429). Beyond `total_max` the sender with the most unread bodies
    loses its oldest (408), so that many half-sent bodies of one sender never cost another its place.
    """

    def __init__(self, total_max: int, address_max: int) -> None:
        self._total_max, self._address_max = total_max, address_max
        self._by_address: dict[str, dict[asyncio.Timeout, None]] = {}  # oldest first
        self._count = 0

    def __len__(self) -> int:
        """How many are being waited for."""
        return self._count

    def enter(self, address: str, timer: asyncio.Timeout) -> None:
        """Take a place until `leave`. Raises Problem: too many calls, or busy."""
        mine = self._by_address.get(address, {})
        if len(mine) >= self._address_max:
            raise Problem(GatewayError.TOO_MANY_CALLS)
        if self._count >= self._total_max:
            self._evict(len(mine))
        self._by_address.setdefault(address, mine)[timer] = None
        self._count += 1

    def leave(self, address: str, timer: asyncio.Timeout) -> None:
        """Give the place back; an evicted one has none."""
        mine = self._by_address.get(address)
        if mine is None or timer not in mine:
            return
        del mine[timer]
        self._count -= 1
        if not mine:
            del self._by_address[address]

    def _evict(self, mine: int) -> None:
        """End the oldest wait of the busiest sender. Raises Problem(BUSY) when the newcomer has as many."""
        address = max(self._by_address, key=lambda one: len(self._by_address[one]))
        theirs = self._by_address[address]
        if len(theirs) <= mine:
            raise Problem(GatewayError.BUSY)
        oldest = next(iter(theirs))
        oldest.reschedule(asyncio.get_running_loop().time())
        self.leave(address, oldest)


READ_ALL: Final = -1


async def read(
    request: web.BaseRequest, bytes_max: int, wait_s: float, unread: UnreadBodies, address: str
) -> bytes:
    """The whole body. Raises Problem: too large, late, no HTTP, too many arriving, sender gone."""
    if (request.content_length or 0) > bytes_max:
        raise Problem(GatewayError.BODY_TOO_LARGE)
    content = request.content
    try:
        if content.is_eof():  # most bodies arrive with their head
            return _bounded(content.read_nowait(READ_ALL), bytes_max)
        async with asyncio.timeout(wait_s) as timer:
            unread.enter(address, timer)
            try:
                return await _arriving(content, bytes_max)
            finally:
                unread.leave(address, timer)
    except TimeoutError:
        raise Problem(GatewayError.BODY_LATE) from None
    except OSError:
        raise Problem(GatewayError.SENDER_GONE) from None
    except (HttpProcessingError, web.RequestPayloadError):
        raise Problem(GatewayError.NOT_HTTP) from None


async def _arriving(content: StreamReader, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while chunk := await content.readany():
        size += len(chunk)
        if size > bytes_max:
            raise Problem(GatewayError.BODY_TOO_LARGE)
        parts.append(chunk)
    return b"".join(parts)


def _bounded(body: bytes, bytes_max: int) -> bytes:
    if len(body) > bytes_max:
        raise Problem(GatewayError.BODY_TOO_LARGE)
    return body
