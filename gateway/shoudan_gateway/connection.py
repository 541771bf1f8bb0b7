"""One HTTP connection: slow heads are closed, what is no HTTP is refused in a protocol's own words."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from shoudan_gateway.admission import Network, is_within
from shoudan_gateway.config import GatewaySettings
from shoudan_gateway.protocol import GatewayError, Problem
from shoudan_kit import metrics
from shoudan_kit.log import get_logger

LINE_CHARS_MAX: Final = 16_384  # more than our own limit, so that ours is the one that answers
HEADERS_MAX: Final = 64
HEADER_BYTES_MAX: Final = 16_384
HEAD_START_BYTES: Final = 1_024  # enough of a head to see its path

_log = get_logger("gateway.http")

Refuse = Callable[[str, Problem], web.Response]


class Connections:
    """How many connections are open, in all and by address; trusted proxies count only in all."""

    def __init__(self, settings: GatewaySettings, proxies: Sequence[Network]) -> None:
        self._total_max = settings.connections_max
        self._address_max = settings.connections_per_address_max
        self._proxies = proxies
        self._by_address: Counter[str] = Counter()
        self._count = 0

    def open(self, address: str) -> bool:
        """Whether one more is within the bounds; counted in any case until `close`."""
        self._count += 1
        self._by_address[address] += 1
        if self._count > self._total_max:
            return False
        own = self._by_address[address] <= self._address_max
        return own or is_within(address, self._proxies)

    def close(self, address: str) -> None:
        """One less."""
        self._count -= 1
        self._by_address[address] -= 1
        if self._by_address[address] <= 0:
            del self._by_address[address]


class Connection(web.RequestHandler):
    """aiohttp's connection, closed when a request line with its headers takes too long to arrive."""

    __slots__ = (
        "_address",
        "_connections",
        "_head",
        "_head_timer",
        "_head_wait_s",
        "_refuse",
        "answering",
    )

    def __init__(
        self,
        manager: web.Server,
        *,
        loop: asyncio.AbstractEventLoop,
        head_wait_s: float,
        connections: Connections,
        refuse: Refuse,
        **kwargs: Any,
    ) -> None:
        super().__init__(manager, loop=loop, **kwargs)
        self._head_wait_s, self._connections, self._refuse = head_wait_s, connections, refuse
        self._head_timer: asyncio.TimerHandle | None = None
        self._head = b""
        self._address: str | None = None
        self.answering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close at once what is beyond the bounds."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        if not self._connections.open(self._address):
            metrics.HTTP_CONNECTIONS_REFUSED().inc()
            self.force_close()

    def data_received(self, data: bytes) -> None:
        """The first bytes of a head start its timer."""
        if self._head_timer is None and not self.answering:
            loop = asyncio.get_running_loop()
            self._head_timer = loop.call_later(self._head_wait_s, self.force_close)
            self._head = data[:HEAD_START_BYTES]
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nothing more will come."""
        self.head_arrived()
        if self._address is not None:
            self._connections.close(self._address)
            self._address = None
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP. The sender is at fault, so only the kind of error is logged."""
        long = isinstance(exc, LineTooLong)
        problem = Problem(GatewayError.HEADERS_TOO_LARGE if long else GatewayError.NOT_HTTP)
        answer = self._refuse(path_of(self._head), problem)
        _log.info("not_http", remote=self._address, why=type(exc).__name__, status=answer.status)
        metrics.http_done("-", answer.status, 0)
        answer.force_close()
        return answer

    def head_arrived(self) -> None:
        """The head is whole: stop its timer."""
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
            self._head = b""


def path_of(head: bytes) -> str:
    """The path in the first bytes of a head; empty when there is none."""
    parts = head.partition(b"\n")[0].split(b" ", 2)
    path = parts[1].partition(b"?")[0] if len(parts) > 1 else b""
    return path.decode("ascii", "replace") if path.startswith(b"/") else ""


class Listener(web.Server):
    """aiohttp's low-level server: no router and no middleware between the bytes and us."""

    def __init__(
        self, handler: Any, refuse: Refuse, settings: GatewaySettings, proxies: Sequence[Network]
    ) -> None:
        super().__init__(handler)
        self._options: dict[str, Any] = {
            "head_wait_s": settings.head_wait_s,
            "connections": Connections(settings, proxies),
            "refuse": refuse,
            "keepalive_timeout": settings.idle_s,
            "max_line_size": LINE_CHARS_MAX,
            "max_field_size": HEADER_BYTES_MAX,
            "max_headers": HEADERS_MAX,
            "auto_decompress": False,
            "access_log": None,
            "lingering_time": 1.0,
        }

    def __call__(self) -> Connection:
        """The handler of a new connection."""
        return Connection(self, loop=asyncio.get_running_loop(), **self._options)
