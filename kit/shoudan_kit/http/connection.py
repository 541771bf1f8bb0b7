"""One kept HTTP/1.1 connection: a request at a time, its answer read by aiohttp's parser."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import msgspec
from aiohttp.base_protocol import BaseProtocol
from aiohttp.client_exceptions import ClientPayloadError
from aiohttp.http import HttpProcessingError, HttpResponseParser, RawResponseMessage
from aiohttp.streams import StreamReader

from shoudan_kit.limits.fair_queue import FairQueue

SWITCHING = 101


class Answered(msgspec.Struct, frozen=True):
    """A whole answer of any status; what it means is the caller's business."""

    status: int
    headers: Mapping[str, str]  # names in any case
    body: bytes


class NotSent(msgspec.Struct, frozen=True):
    """Not a byte of the request left: trying again cannot do anything twice."""

    reason: str


class NoAnswer(msgspec.Struct, frozen=True):
    """The request may have arrived and what came of it is unknown."""

    reason: str


class Connection(BaseProtocol):
    """A connection. Whatever is not exactly one whole answer to what was asked ends it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        body_bytes_max: int,
        fair_queue: FairQueue,
        gone: Callable[[Connection], None],
    ) -> None:
        """`gone` is called once, when the connection is no more; answers are read through `fair_queue`."""
        super().__init__(loop)
        self._fair_queue, self._unread = fair_queue, b""
        self._parser = HttpResponseParser(
            self,
            loop,
            body_bytes_max,
            payload_exception=ClientPayloadError,
            read_until_eof=True,
            auto_decompress=False,
        )
        self._body_bytes_max, self._gone = body_bytes_max, gone
        self._answer: asyncio.Future[Answered | NoAnswer] | None = None
        self._message: RawResponseMessage | None = None
        self._payload: StreamReader | None = None
        self._flooded = False
        self._reusable = True
        self.idle_since = 0.0

    @property
    def usable(self) -> bool:
        """Whether another request may be sent on it."""
        transport = self.transport
        return self._reusable and transport is not None and not transport.is_closing()

    def ask(self, request: bytes) -> asyncio.Future[Answered | NoAnswer]:
        """Send `request`, which is whole; the future never raises."""
        assert self.transport is not None
        assert self._answer is None
        answer = self._answer = self._loop.create_future()
        self.transport.write(request)
        return answer

    def give_up(self, reason: str) -> None:
        """No answer will be taken any more."""
        self._reusable = False
        if self.transport is not None:
            self.transport.abort()
        self._finish(NoAnswer(reason))

    def _finish(self, outcome: Answered | NoAnswer) -> None:
        answer, self._answer = self._answer, None
        self._message = self._payload = None
        if answer is not None and not answer.done():
            answer.set_result(outcome)

    # ------------------------------------------------------------ called by the transport and the parser
    def data_received(self, data: bytes) -> None:
        """Part of an answer, or several in one piece: kept until its turn comes."""
        if self._answer is None:  # at once: it must never pass for the answer to the next request
            self.give_up("unexpected bytes")
            return
        waiting = bool(self._unread)
        self._unread += data
        if not waiting:
            self._fair_queue.take(self)

    def work(self) -> None:
        """Read what has come."""
        data, self._unread = self._unread, b""
        if not data:
            return  # the connection ended before the turn came, and it was read then
        if self._answer is None:
            self.give_up("unexpected bytes")
            return
        try:
            messages, upgraded, _ = self._parser.feed_data(data)
        except (HttpProcessingError, ValueError) as error:
            self.give_up(f"answer unreadable ({type(error).__name__})")
            return
        for message, payload in messages:
            if message.code < 200 and message.code != SWITCHING:
                continue  # "go on" and the like come before the answer
            if upgraded or self._message is not None:
                self.give_up("more than one answer")
                return
            self._message, self._payload = message, payload
        if self._payload is not None:
            self._look(self._payload)

    def _look(self, payload: StreamReader) -> None:
        """Hand the answer over once it is whole."""
        if payload.exception() is not None:
            self.give_up("answer unreadable")
        elif payload.total_bytes > self._body_bytes_max or self._flooded:
            self.give_up(f"answer longer than {self._body_bytes_max} bytes")
        elif payload.is_eof():
            message = self._message
            assert message is not None
            self._reusable = not message.should_close
            self._finish(Answered(message.code, message.headers, payload.read_nowait()))

    def connection_lost(self, exc: BaseException | None) -> None:
        """An answer without a length ends here; every other one is lost."""
        self.work()
        super().connection_lost(exc)
        self._reusable = False
        if self._answer is not None:
            if exc is None and self._payload is not None:
                try:
                    self._parser.feed_eof()
                    self._look(self._payload)
                except (HttpProcessingError, ClientPayloadError):
                    pass  # reported as cut below
            self._finish(NoAnswer("connection closed before the whole answer"))
        self._gone(self)

    def pause_reading(self) -> None:
        """More came than is read, in bytes or in pieces."""
        self._flooded = True

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Reading never pauses: what is too long ends the connection."""
