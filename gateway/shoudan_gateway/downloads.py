"""Files sent piece by piece: a bounded number at a time, each within its time, none held in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web
from google.protobuf.message import Message
from grpc import aio
from multidict import CIMultiDict

from shoudan_gateway.backend import Backend
from shoudan_gateway.protocol import File, GatewayError, Problem, Stream
from shoudan_kit import metrics
from shoudan_kit.log import get_logger

BROKEN: Final = metrics.counter(
    "gateway_downloads_broken_total", "Files that were not sent to their end, by why.", ("why",)
)

_log = get_logger("gateway.downloads")


class Downloads:
    """The files that are on their way."""

    def __init__(self, at_once_max: int, within_s: float) -> None:
        self._left, self._within_s = at_once_max, within_s

    async def opened(self, backend: Backend, call: Stream, message: Message) -> File:
        """A file whose first piece has come; it has a place until it is sent. Raises Refused, Problem."""
        if self._left <= 0:
            raise Problem(GatewayError.BUSY)
        self._left -= 1
        try:
            return await backend.file(call, message)
        except BaseException:
            self._left += 1
            raise

    async def send(
        self, request: web.BaseRequest, file: File, headers: CIMultiDict[str]
    ) -> web.StreamResponse:
        """Send it. A reader that is too slow, and a service that breaks off, find the connection closed:
        fewer bytes than Content-Length says."""
        response = web.StreamResponse(headers=headers)
        response.content_length = file.bytes
        try:
            async with asyncio.timeout(self._within_s):
                await response.prepare(request)
                await _written(response, file.pieces)
        except (TimeoutError, ConnectionError, aio.AioRpcError) as error:
            BROKEN(type(error).__name__).inc()
            _log.warning("download_broken", why=type(error).__name__)
            response.force_close()
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._left += 1
        return response


async def _written(response: web.StreamResponse, pieces: AsyncIterator[bytes]) -> None:
    async for piece in pieces:
        await response.write(piece)
    await response.write_eof()
