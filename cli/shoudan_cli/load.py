"""A cheap partner for measurements: places orders over keep-alive HTTP, takes their notifies itself.

Runs as its own process until SIGINT or SIGTERM, waits for the notifies it is owed, prints one JSON
object. The number of orders between request and notify is bounded, so a slow system is asked less; with a
rate, orders are due at their times, whatever the system does, and latencies count from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import SplitResult, urlsplit

import orjson
import uvloop

CONNECTIONS_MAX: Final = 512  # one for each order in flight, as far as one address may have so many
DUE_EVERY_S: Final = 0.002
OWED_S_MAX: Final = 60.0
SAMPLES_MAX: Final = 2_000_000
REASONS_MAX: Final = 5
SEQUENCE: Final = 1 << 16  # after so many orders the channels come in the same order again
DISCOUNT: Final = 99  # fen of a yuan of face: what a product of the bench sells for
_SUCCESS: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 7\r\n\r\nsuccess"
_LENGTH: Final = b"content-length:"
_KEY: Final = b'"request_no":"'


@dataclass
class Tally:
    """What was seen."""

    placed: int = 0
    refused: int = 0
    notified: int = 0
    reasons: list[str] = field(default_factory=list[str])
    latencies_s: list[float] = field(default_factory=list[float])


class Wire(asyncio.Protocol):
    """Whole HTTP messages with a Content-Length, one after the other."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """Hand over every message that is whole."""
        self._buffer += data
        while True:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            length = _length(head)
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            self.took(head, rest[:length])

    def took(self, head: bytes, body: bytes) -> None:
        """One message."""
        raise AssertionError("a wire does something with its messages")


def _length(head: bytes) -> int:
    lowered = head.lower()
    at = lowered.find(_LENGTH)
    return int(lowered[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0


class Asker(Wire):
    """A connection to the gateway: one request at a time."""

    def __init__(self, load: Load) -> None:
        super().__init__()
        self._load = load
        self.request_no = b""

    def took(self, head: bytes, body: bytes) -> None:
        """The answer to the request under way."""
        self._load.answered(self, head.startswith(b"HTTP/1.1 200") and b'"order_id"' in body, body)

    def connection_lost(self, exc: Exception | None) -> None:
        """A lost request is repeated under its number, as a partner would."""
        self._load.lost(self)


class Receiver(Wire):
    """A connection that receives the notifies of ended orders."""

    def __init__(self, load: Load) -> None:
        super().__init__()
        self._load = load

    def took(self, head: bytes, body: bytes) -> None:
        """One notify."""
        self.transport.write(_SUCCESS)
        at = body.find(_KEY) + len(_KEY)
        self._load.notified(body[at : body.find(b'"', at)])


class Load:
    """Keeps `in_flight_max` orders between request and notify, or places `rate` a second."""

    def __init__(
        self,
        gateway_urls: Sequence[str],
        in_flight_max: int,
        channels: Sequence[str],
        rate: float = 0,
        stated: str = "",
        *,
        faces: Sequence[int] = (200,),
        zipf: float = 0,
    ) -> None:
        self._gateways = [urlsplit(one) for one in gateway_urls]
        self._in_flight_max, self._rate = in_flight_max, rate
        self._stated = stated.encode()  # more of what every order says, of a query
        self._due: deque[bytes] = deque()
        self._channels = sequence_of([one.encode() for one in channels], zipf)
        self._faces = [b"&face=%d&amount=%s" % (one, sold_for(one).encode()) for one in faces]
        self._prefix = f"b{time.time_ns() // 1_000_000:x}".encode()
        self._began: dict[bytes, float] = {}
        self._again: deque[bytes] = deque()
        self._free: deque[Asker] = deque()
        self._stopping = False
        self._query = b""
        self._all_ended = asyncio.Event()
        self.tally = Tally()

    async def run(self, stop: asyncio.Event) -> Tally:
        """Place orders until `stop`, then wait for what is owed."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Receiver(self), "127.0.0.1", 0, backlog=512)
        port = int(server.sockets[0].getsockname()[1])
        self._query = (
            b"&line_id=1&carrier_no=ZSH&invoice_type=1&num=1&rechage_account="
            b"100011000000000%s&notify_url=http://127.0.0.1:%d/ HTTP/1.1\r\nHost: %s\r\n\r\n"
            % (self._stated, port, self._gateways[0].netloc.encode())
        )
        for number in range(min(self._in_flight_max, CONNECTIONS_MAX)):
            await self._connect(self._gateways[number % len(self._gateways)])
        self._pump()
        await (self._make_due(stop) if self._rate else stop.wait())
        self._stopping = True
        self._pump()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OWED_S_MAX):
                await self._all_ended.wait()
        server.close()
        return self.tally

    async def _make_due(self, stop: asyncio.Event) -> None:
        """Orders at their times until `stop`; late ticks make up for what they missed."""
        due = time.perf_counter()
        while not stop.is_set():
            while due <= time.perf_counter():
                self._due.append(self._number(due))
                due += 1 / self._rate
            self._pump()
            await asyncio.sleep(DUE_EVERY_S)

    async def _connect(self, where: SplitResult) -> None:
        loop = asyncio.get_running_loop()
        host, port = where.hostname or "", where.port or 80
        _, asker = await loop.create_connection(lambda: Asker(self), host, port)
        self._free.append(asker)

    def _pump(self) -> None:
        if self._stopping and not self._began:
            self._all_ended.set()
        while self._free and (number := self._next()):
            asker = self._free.popleft()
            asker.request_no = number
            asker.transport.write(self._request(number))

    def _request(self, number: bytes) -> bytes:
        """An order; its number says which channel's turn it is, so that a repeat is the same order."""
        turn = int(number.removeprefix(self._prefix), 16)
        channel = self._channels[turn % len(self._channels)]
        start = b"GET /order/request?channel_no=%s&request_no=%s" % (channel, number)
        return start + self._faces[turn % len(self._faces)] + self._query

    def _next(self) -> bytes:
        """The number of the next order to place; nothing when enough are under way."""
        for waiting in (self._again, self._due):
            if waiting:
                return waiting.popleft()
        if self._rate or self._stopping or len(self._began) >= self._in_flight_max:
            return b""
        return self._number(time.perf_counter())

    def _number(self, began_s: float) -> bytes:
        """Of a new order that begins then."""
        self.tally.placed += 1
        number = b"%s%x" % (self._prefix, self.tally.placed)
        self._began[number] = began_s
        return number

    def answered(self, asker: Asker, taken: bool, body: bytes) -> None:
        """The gateway took an order or did not."""
        if not taken:
            self._began.pop(asker.request_no, None)
            self.tally.refused += 1
            if len(self.tally.reasons) < REASONS_MAX:
                self.tally.reasons.append(body.decode("utf-8", "replace")[:200])
        asker.request_no = b""
        self._free.append(asker)
        self._pump()

    def lost(self, asker: Asker) -> None:
        """A connection broke: ask the same again over another one."""
        if asker.request_no in self._began:
            self._again.append(asker.request_no)
        if asker in self._free:
            self._free.remove(asker)

    def notified(self, number: bytes) -> None:
        """An order has ended."""
        began = self._began.pop(number, None)
        if began is None:
            return
        self.tally.notified += 1
        if len(self.tally.latencies_s) < SAMPLES_MAX:
            self.tally.latencies_s.append(time.perf_counter() - began)
        self._pump()


def sequence_of(channels: Sequence[bytes], zipf: float) -> list[bytes]:
    """Whose order comes next: one after the other, or as often as 1 / place to the power of `zipf`."""
    if not zipf:
        return list(channels)
    weights = [1 / place**zipf for place in range(1, len(channels) + 1)]
    return random.Random(0).choices(channels, weights, k=SEQUENCE)


def sold_for(face: int) -> str:
    """The price of a face of so many yuan, in yuan."""
    yuan, fen = divmod(face * DISCOUNT, 100)
    return f"{yuan}.{fen:02}" if fen else str(yuan)


def percentile(samples: list[float], part: float) -> float:
    """The value that `part` of the samples do not exceed; 0 without samples."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0


async def _main(
    gateway_urls: str,
    in_flight_max: int,
    channels: str,
    rate: float,
    faces: str,
    zipf: float,
    stated: str,
) -> dict[str, Any]:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    load = Load(
        gateway_urls.split(","),
        in_flight_max,
        channels.split(","),
        rate,
        stated,
        faces=range(*map(int, faces.split(":"))),
        zipf=zipf,
    )
    tally = await load.run(stop)
    return {
        "placed": tally.placed,
        "refused": tally.refused,
        "notified": tally.notified,
        "reasons": tally.reasons,
        "p50_ms": percentile(tally.latencies_s, 0.5) * 1000,
        "p99_ms": percentile(tally.latencies_s, 0.99) * 1000,
    }


if __name__ == "__main__":
    urls, most, names, each_s, sold, skew, *more = sys.argv[1:]
    numbers = (int(most), names, float(each_s), sold, float(skew))
    measured = uvloop.run(_main(urls, *numbers, "".join(more)))
    sys.stdout.buffer.write(orjson.dumps(measured) + b"\n")
