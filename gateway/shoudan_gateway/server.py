"""One HTTP listener: limits first, then the partner's reader, the services, the partner's writer."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec
from aiohttp import web
from multidict import CIMultiDict

from shoudan_gateway import merge
from shoudan_gateway.admission import Admission, proxies_of, remote_of
from shoudan_gateway.backend import Backend
from shoudan_gateway.config import GatewaySettings
from shoudan_gateway.routes import Route, Routes
from shoudan_gateway.wire import (
    Endpoint,
    Inbound,
    Malformed,
    Outbound,
    Partner,
    Problem,
    Sink,
    Trouble,
)
from shoudan_kit import metrics
from shoudan_kit.log import get_logger
from shoudan_kit.refusal import Refused

QUERY_CHARS_MAX: Final = 8_192
LINE_CHARS_MAX: Final = 16_384  # more than our own limit, so that ours is the one that answers
HEADERS_MAX: Final = 64
HEADER_BYTES_MAX: Final = 16_384
NO_STORE: Final = "no-store"
SERVER_NAME: Final = "shoudan"  # whoever asks need not learn what it is made of
SERVER_ERROR: Final = 500

_log = get_logger("gateway")
_access = get_logger("gateway.access")
_encode = msgspec.json.Encoder().encode


class Connection(web.RequestHandler):
    """aiohttp's connection, closed when a request line with its headers takes too long to arrive."""

    __slots__ = ("_head_timer", "_head_wait_s", "answering")

    def __init__(
        self,
        manager: web.Server,
        *,
        loop: asyncio.AbstractEventLoop,
        head_wait_s: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(manager, loop=loop, **kwargs)
        self._head_wait_s = head_wait_s
        self._head_timer: asyncio.TimerHandle | None = None
        self.answering = False

    def data_received(self, data: bytes) -> None:
        """The first bytes of a head start its timer."""
        if self._head_timer is None and not self.answering:
            loop = asyncio.get_running_loop()
            self._head_timer = loop.call_later(self._head_wait_s, self.force_close)
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nothing more will come."""
        self.head_arrived()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """aiohttp's answer to what is no HTTP, under our own name."""
        answer = super().handle_error(request, status, exc, message)
        answer.headers["Server"] = SERVER_NAME
        return answer

    def head_arrived(self) -> None:
        """The head is whole: stop its timer."""
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class Listener(web.Server):
    """aiohttp's low-level server: no router and no middleware between the bytes and us."""

    def __init__(self, handler: Any, settings: GatewaySettings) -> None:
        super().__init__(handler)
        self._options: dict[str, Any] = {
            "head_wait_s": settings.head_wait_s,
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


class Gateway:
    """Answers every request of one listener. Nothing but a JSON body or the documented text leaves it."""

    def __init__(
        self,
        settings: GatewaySettings,
        partners: list[Partner],
        backend: Backend,
        admission: Admission,
        pages: Mapping[str, Outbound],
    ) -> None:
        self._settings, self._backend, self._admission = settings, backend, admission
        self._routes, self._pages = Routes(partners), pages
        self._doors = {one.name: one.door(settings) for one in partners if one.door is not None}
        self._proxies = proxies_of(settings)
        self._in_flight = 0
        self._legacy = {
            name.removesuffix("_legacy_errors"): bool(getattr(settings, name))
            for name in type(settings).model_fields
            if name.endswith("_legacy_errors")
        }
        self._logged = settings.access_log

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request, whatever it holds."""
        began = time.perf_counter()
        connection = request.protocol
        if isinstance(connection, Connection):
            connection.head_arrived()
            connection.answering = True
        path, _, query = request.raw_path.partition("?")
        route, names = self._routes.find(path, request.method)
        inbound = Inbound(request.method, path, query=query, path_params=names)
        self._in_flight += 1
        try:
            inbound, answer = await self._answer(request, route, inbound)
        finally:
            self._in_flight -= 1
            if isinstance(connection, Connection):
                connection.answering = False
        self._account(route, inbound, answer, time.perf_counter() - began)
        return _response(answer, request.method)

    async def _answer(
        self, request: web.BaseRequest, route: Route | None, inbound: Inbound
    ) -> tuple[Inbound, Outbound]:
        """The answer, and the request as far as it was read."""
        try:
            self._check_limits(request, inbound)
            if route is None:
                return inbound, self._page(inbound)
            endpoint = route.endpoint
            if inbound.method not in endpoint.methods:
                raise Problem(Trouble.METHOD_REFUSED)
            if isinstance(endpoint, Sink):
                return inbound, endpoint.reply
            async with asyncio.timeout(self._settings.deadline_s):
                inbound = await self._read(request, endpoint, inbound)
                inbound = self._admit(route.partner, endpoint, inbound)
                answer = await self._backend(endpoint.call, endpoint.read(inbound))
            return inbound, endpoint.write(answer, inbound)
        except (Refused, Malformed, Problem) as no:
            return inbound, self._refuse(route, no, inbound)
        except TimeoutError:
            return inbound, self._refuse(route, Problem(Trouble.NO_ANSWER), inbound)
        except Exception:  # noqa: BLE001 - a bug of ours: logged whole, told as a number
            return inbound, self._broken(route, inbound)

    def _refuse(
        self, route: Route | None, no: Refused | Malformed | Problem, inbound: Inbound
    ) -> Outbound:
        if route is None:
            trouble = no.trouble if isinstance(no, Problem) else Trouble.BROKEN
            return Outbound(trouble.status, {"code": trouble.status, "message": trouble.value})
        partner = route.partner
        try:
            return partner.refuse(no, inbound, self._legacy.get(partner.name, False))
        except KeyError:  # a refusal this protocol has no words for
            _log.error("refusal_without_words", partner=partner.name, refusal=str(no))
            return self._broken(route, inbound)

    def _broken(self, route: Route | None, inbound: Inbound) -> Outbound:
        trace = secrets.token_hex(8)
        _log.error("request_failed", path=inbound.path, trace=trace, exc_info=True)
        return self._refuse(route, Problem(Trouble.BROKEN, trace), inbound)

    def _check_limits(self, request: web.BaseRequest, inbound: Inbound) -> None:
        if self._in_flight > self._settings.requests_in_flight_max:
            raise Problem(Trouble.BUSY)
        if len(inbound.query) > QUERY_CHARS_MAX:
            raise Problem(Trouble.QUERY_TOO_LONG)
        if sum(len(name) + len(value) for name, value in request.raw_headers) > HEADER_BYTES_MAX:
            raise Problem(Trouble.HEADERS_TOO_LARGE)

    def _page(self, inbound: Inbound) -> Outbound:
        page = self._pages.get(inbound.path)
        if page is None:
            raise Problem(Trouble.PATH_UNKNOWN)
        if inbound.method not in {"GET", "HEAD"}:
            raise Problem(Trouble.METHOD_REFUSED)
        return page

    async def _read(
        self, request: web.BaseRequest, endpoint: Endpoint[Any, Any], inbound: Inbound
    ) -> Inbound:
        """The request with its body and, unless the endpoint wants it raw, its parameters."""
        headers = request.headers
        body = await self._body(request, endpoint) if request.body_exists else b""
        if "Content-Encoding" in headers and body:
            raise Problem(Trouble.MEDIA_TYPE_UNKNOWN)
        params: Mapping[str, str] = {}
        if not endpoint.raw:
            params = merge.merged(inbound.query, body, headers.get("Content-Type", ""))
        return replace(
            inbound,
            params=params,
            body=body,
            headers=headers,
            remote=self._remote(request),
        )

    def _remote(self, request: web.BaseRequest) -> str:
        peer = request.remote or ""
        if not self._proxies:
            return peer
        return remote_of(peer, request.headers.get("X-Forwarded-For", ""), self._proxies)

    async def _body(self, request: web.BaseRequest, endpoint: Endpoint[Any, Any]) -> bytes:
        bytes_max = endpoint.body_bytes_max
        if (request.content_length or 0) > bytes_max:
            raise Problem(Trouble.BODY_TOO_LARGE)
        body = bytearray()
        try:
            async with asyncio.timeout(self._settings.body_wait_s):
                while chunk := await request.content.readany():
                    body += chunk
                    if len(body) > bytes_max:
                        raise Problem(Trouble.BODY_TOO_LARGE)
        except TimeoutError:
            raise Problem(Trouble.BODY_LATE) from None
        return bytes(body)

    def _admit(self, partner: Partner, endpoint: Endpoint[Any, Any], inbound: Inbound) -> Inbound:
        door = self._doors.get(partner.name)
        if door is not None:
            return door(inbound, endpoint)
        if partner.role != "channel":
            return inbound
        return replace(inbound, channel=self._admission.admit(inbound, once=endpoint.writes))

    def _account(
        self, route: Route | None, inbound: Inbound, answer: Outbound, seconds: float
    ) -> None:
        path = route.endpoint.path if route else "-"
        metrics.http_done(path, answer.status, seconds)
        if self._logged == "off":
            return
        failed = answer.status >= SERVER_ERROR
        writes = (
            route is not None and isinstance(route.endpoint, Endpoint) and route.endpoint.writes
        )
        if failed or self._logged == "all" or (writes and self._logged == "writes"):
            _access.info(
                "request",
                route=path,
                status=answer.status,
                ms=round(seconds * 1000, 1),
                channel_no=inbound.params.get("channel_no", ""),
                request_no=inbound.params.get("request_no", ""),
            )


def _response(answer: Outbound, method: str) -> web.Response:
    body = answer.body if isinstance(answer.body, bytes) else _encode(answer.body)
    headers = CIMultiDict({"Content-Type": answer.content_type, "Cache-Control": NO_STORE})
    headers["Server"] = SERVER_NAME
    if answer.status == Trouble.BUSY.status:
        headers["Retry-After"] = "1"
    return web.Response(
        status=answer.status, body=b"" if method == "HEAD" else body, headers=headers
    )
