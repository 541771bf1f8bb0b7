"""One HTTP listener: limits first, then the partner's reader, the services, the partner's writer."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import web
from multidict import CIMultiDict

from shoudan_gateway import advice, bodies, parameters
from shoudan_gateway.admission import Admission, is_within, proxies_of, remote_of
from shoudan_gateway.backend import Backend
from shoudan_gateway.bodies import UnreadBodies
from shoudan_gateway.config import GatewaySettings
from shoudan_gateway.connection import HEADER_BYTES_MAX, Connection, Listener
from shoudan_gateway.deadlines import Deadlines
from shoudan_gateway.docs_site import DocsSite
from shoudan_gateway.downloads import Downloads
from shoudan_gateway.internal_access import InternalAccess
from shoudan_gateway.limits import (
    CallerLimits,
    Limit,
    Limited,
    policy,
    remaining,
    retry_after_s,
)
from shoudan_gateway.protocol import (
    Endpoint,
    Failure,
    GatewayError,
    Inbound,
    Malformed,
    Outbound,
    Partner,
    Places,
    Problem,
    Sink,
    Stream,
)
from shoudan_gateway.request_log import RequestLog
from shoudan_gateway.routes import Route, Routes
from shoudan_gateway.versions import Answered, Versions, is_versioned
from shoudan_kit import metrics
from shoudan_kit.credentials.fetched import FetchedSecrets
from shoudan_kit.limits import bulkhead
from shoudan_kit.log import get_logger
from shoudan_kit.rpc.refusal import Refused
from shoudan_kit.tracing import carried, spans
from shoudan_kit.tracing.trace import REQUEST_ID, TRACEPARENT, Trace, begun

QUERY_CHARS_MAX: Final = 8_192
LOGGED_CHARS_MAX: Final = 64  # of what a caller may write as long as it likes
NO_STORE: Final = "no-store"
SERVER_NAME: Final = "shoudan"  # says nothing about the software
SERVER_ERROR: Final = 500

_log = get_logger("gateway")
_access = get_logger("gateway.access")
_encode = msgspec.json.Encoder().encode


class Gateway:
    """Answers every request of one listener. Nothing but a JSON body or the documented text leaves it."""

    def __init__(
        self,
        settings: GatewaySettings,
        partners: list[Partner],
        backend: Backend,
        admission: Admission,
        internal: InternalAccess,
        limits: CallerLimits,
        pages: Mapping[str, Outbound],
        of_pay: FetchedSecrets,
        request_log: RequestLog | None = None,
        docs: DocsSite | None = None,
        versions: Versions | None = None,
    ) -> None:
        """`of_pay`: what the pay service stores for partners that authenticate by themselves.

        `request_log`: where what partners call is noted; None where it is not. `docs`: the partners' pages.
        """
        self._settings, self._backend, self._admission = settings, backend, admission
        self._internal, self._limits = internal, limits
        self._routes, self._pages = Routes(partners), pages
        self._authenticators = {
            one.name: one.authenticate(settings, of_pay)
            for one in partners
            if one.authenticate is not None
        }
        self._proxies = proxies_of(settings)
        self._unread = UnreadBodies(
            settings.unread_bodies_max, settings.unread_bodies_per_address_max
        )
        self._downloads = Downloads(settings.downloads_max, settings.download_s)
        self._base_url = settings.public_base_url.rstrip("/")
        self._in_flight = bulkhead.Bulkhead(shares(settings))
        self._deadlines = Deadlines()
        self._legacy = {
            name.removesuffix("_legacy_errors"): bool(getattr(settings, name))
            for name in type(settings).model_fields
            if name.endswith("_legacy_errors")
        }
        self._logged = settings.access_log
        self._request_log = request_log
        self._docs = docs
        self._versions = versions or Versions()

    def listener(self) -> Listener:
        """The server whose requests this gateway answers."""
        return Listener(self.handle, self._not_http, self._settings, self._proxies)

    def _not_http(self, path: str, problem: Problem) -> web.Response:
        _, trace = begun((), (), sampled=False)
        inbound = Inbound("", path)
        refused = self._refuse(self._routes.space(path), problem, inbound)
        return _response(refused, "", trace.request_id, inbound)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request, whatever it holds; its id and its trace are read or made here, and answered."""
        headers = request.headers
        caller, trace = begun(
            headers.getall(TRACEPARENT, ()), headers.getall(REQUEST_ID, ()), sampled=spans.sampled()
        )
        began_ns = spans.now_ns()
        with carried.carrying(carried.Carried({}, trace, stored=True)):
            route, response = await self._handle(request, trace)
        if trace.sampled:
            failed = str(response.status) if response.status >= SERVER_ERROR else ""
            facts = {"http.route": route, "http.response.status_code": response.status}
            spans.record(route, "server", [(caller, trace)], began_ns, failed=failed, **facts)
        return response

    async def _handle(
        self, request: web.BaseRequest, trace: Trace
    ) -> tuple[str, web.StreamResponse]:
        """The path of the route, and the answer."""
        began = time.perf_counter()
        connection = request.protocol
        if isinstance(connection, Connection):
            connection.head_arrived()
            connection.answering = True
        path, _, query = request.raw_path.partition("?")
        route, names = self._routes.find(path, request.method)
        base_url = self._base_url
        inbound = Inbound(request.method, path, query=query, path_params=names, base_url=base_url)
        try:
            inbound, answer = await self._answer(request, route, inbound)
            if route is not None:
                answer = self._in_version(route, inbound, answer, trace.request_id)
        finally:
            if isinstance(connection, Connection):
                connection.answering = False
        took_s = time.perf_counter() - began
        self._account(route, inbound, answer, took_s)
        if self._request_log is not None:
            noted = inbound
            if "token" in names and route is not None:  # who reads a log must not fetch files
                noted = msgspec.structs.replace(inbound, path=route.endpoint.path, path_params={})
            called = (route.partner.name, route.endpoint.path) if route is not None else ("", "")
            self._request_log.note(noted, answer, trace.request_id, took_s, called)
        if answer.file is not None:
            headers = _headers(answer, trace.request_id, inbound)
            return (
                route.endpoint.path if route else "-",
                await self._downloads.send(request, answer.file, headers),
            )
        response = _response(answer, request.method, trace.request_id, inbound)
        if not request.content.is_eof():
            response.force_close()  # what follows would be the rest of an unread body
        return route.endpoint.path if route else "-", response

    def _in_version(
        self, route: Route, inbound: Inbound, answer: Outbound, request_id: str
    ) -> Outbound:
        """The answer in the version of its request; a call that is to end says so."""
        if isinstance(route.endpoint, Endpoint) and route.endpoint.ending:
            answer = msgspec.structs.replace(answer, headers=route.endpoint.ending.headers())
        if not is_versioned(route.partner):
            return answer
        return self._versions.written(answer, Answered(inbound, request_id))

    def _versioned(self, partner: Partner, inbound: Inbound) -> Inbound:
        """The request in the version it asks for, or its channel is pinned to. Raises Malformed."""
        if not is_versioned(partner):
            return inbound
        return msgspec.structs.replace(inbound, version=self._versions.of(inbound))

    async def _answer(
        self, request: web.BaseRequest, route: Route | None, inbound: Inbound
    ) -> tuple[Inbound, Outbound]:
        """The answer, and the request as far as it was read."""
        partner = route.partner if route else self._routes.space(inbound.path)
        ends_at = time.monotonic() + self._settings.deadline_s
        try:
            _check_limits(request, inbound)
            if route is None:
                inbound = msgspec.structs.replace(inbound, headers=request.headers)
                return inbound, self._page(inbound)
            endpoint = route.endpoint
            if inbound.method not in endpoint.methods:
                raise Problem(GatewayError.METHOD_REFUSED)
            if isinstance(endpoint, Sink):
                return inbound, endpoint.reply
            inbound = await self._read(request, endpoint, inbound)
            inbound = self._with_places(self._admit(route.partner, endpoint, inbound))
            inbound = self._versioned(route.partner, inbound)
            answer = await self._call(endpoint, inbound, ends_at)
            return inbound, endpoint.write(answer, inbound)
        except (Refused, Malformed, Problem) as failure:
            if isinstance(failure, Limited):
                quotas = (*inbound.quotas, failure.quota)
                inbound = msgspec.structs.replace(inbound, quotas=quotas)
            return inbound, self._refuse(partner, failure, inbound)
        except TimeoutError:
            return inbound, self._refuse(partner, Problem(GatewayError.NO_ANSWER), inbound)
        except Exception:  # noqa: BLE001 - a bug of ours: logged whole, shown as a trace number
            return inbound, self._broken(partner, inbound)

    async def _call(self, endpoint: Endpoint[Any, Any], inbound: Inbound, ends_at: float) -> Any:
        """The services' answer. Only an admitted request takes one of the places in flight."""
        message = endpoint.read(self._versions.read(inbound))
        party, now = _party(inbound), time.monotonic()
        limit = self._limit(inbound)
        most = self._limits.calls_max(party[0], limit)
        admission = self._in_flight.enter(party, now, most)
        full = admission is bulkhead.Admission.FULL
        # One that is turned away asks for more than what is in flight.
        self._limits.began(party[0], limit, self._in_flight.calls_of(party) + most * full)
        if admission is not bulkhead.Admission.GO:
            raise Problem(GatewayError.TOO_MANY_CALLS if full else GatewayError.BUSY)
        try:
            async with self._deadlines.until(ends_at):
                if inbound.handed_on:
                    return await self._backend.hand_on(
                        endpoint.call, message, inbound.remote, inbound.authorization
                    )
                if isinstance(endpoint.call, Stream):
                    return await self._downloads.opened(self._backend, endpoint.call, message)
                return await self._backend(endpoint.call, message)
        finally:
            self._in_flight.leave(party, now, answered=True)

    def _with_places(self, inbound: Inbound) -> Inbound:
        """The request with what its caller may have in flight besides it."""
        party, limit = _party(inbound), self._limit(inbound)
        here = self._limits.calls_max(party[0], limit) - self._in_flight.calls_of(party) - 1
        places = Places(limit.calls_max, max(0, here))
        return msgspec.structs.replace(inbound, places=places)

    def _limit(self, inbound: Inbound) -> Limit:
        rule = inbound.channel
        if rule is None:
            return self._limits.of_partner()
        return self._limits.of_partner(rule.rate_per_s, rule.calls_max)

    def _refuse(self, partner: Partner | None, failure: Failure, inbound: Inbound) -> Outbound:
        """The partner's words for a failure, and when it is worth trying again."""
        answer = self._worded(partner, failure, inbound)
        error_headers = answer.error_headers or advice.headers(advice.facts_of(failure))
        wait_s = answer.retry_after_s
        if wait_s is None and isinstance(failure, Problem):
            wait_s = retry_after_s(failure)
        return msgspec.structs.replace(answer, error_headers=error_headers, retry_after_s=wait_s)

    def _worded(self, partner: Partner | None, failure: Failure, inbound: Inbound) -> Outbound:
        if partner is None:
            error = failure.error if isinstance(failure, Problem) else GatewayError.BROKEN
            return Outbound(error.status, {"code": error.status, "message": error.value})
        try:
            return partner.refuse(failure, inbound, self._legacy.get(partner.name, False))
        except KeyError:  # a refusal this protocol has no words for
            _log.error("refusal_without_words", partner=partner.name, refusal=str(failure))
            return self._broken(partner, inbound)

    def _broken(self, partner: Partner | None, inbound: Inbound) -> Outbound:
        trace = secrets.token_hex(8)
        path = inbound.path[:LOGGED_CHARS_MAX]
        _log.error("request_failed", path=path, trace=trace, exc_info=True)
        return self._refuse(partner, Problem(GatewayError.BROKEN, trace), inbound)

    def _page(self, inbound: Inbound) -> Outbound:
        page = self._pages.get(inbound.path)
        if page is None and self._docs is not None:
            page = self._docs.answer(inbound)
        if page is None:
            raise Problem(GatewayError.PATH_UNKNOWN)
        if inbound.method not in {"GET", "HEAD"}:
            raise Problem(GatewayError.METHOD_REFUSED)
        return page

    async def _read(
        self, request: web.BaseRequest, endpoint: Endpoint[Any, Any], inbound: Inbound
    ) -> Inbound:
        """The request with its body and, unless the endpoint wants it raw, its parameters."""
        headers, remote = request.headers, self._remote(request)
        inbound = msgspec.structs.replace(inbound, headers=headers, remote=remote)
        if not self._proxies or not is_within(remote, self._proxies):
            inbound = self._limits.address(inbound)
        body = b""
        if request.body_exists:
            wait_s = self._settings.body_wait_s
            body = await bodies.read(request, endpoint.body_bytes_max, wait_s, self._unread, remote)
        if "Content-Encoding" in headers and body:
            raise Problem(GatewayError.MEDIA_TYPE_UNKNOWN)
        params: Mapping[str, str] = {}
        if not endpoint.raw:
            params = parameters.merged(inbound.query, body, headers.get("Content-Type", ""))
        return msgspec.structs.replace(inbound, params=params, body=body)

    def _remote(self, request: web.BaseRequest) -> str:
        peer = request.remote or ""
        if not self._proxies:
            return peer
        return remote_of(peer, request.headers.get("X-Forwarded-For", ""), self._proxies)

    def _admit(self, partner: Partner, endpoint: Endpoint[Any, Any], inbound: Inbound) -> Inbound:
        authenticate = self._authenticators.get(partner.name)
        if authenticate is not None:
            return self._count_merchant(authenticate(inbound, endpoint))
        if partner.role == "internal":
            return self._internal.admit(inbound, endpoint)
        if partner.role != "channel":
            return inbound
        if partner.signed is not None:
            call = partner.signed(inbound)
            return inbound if call is None else self._admission.admit_signed(inbound, call)
        return self._admission.admit(inbound, once=endpoint.writes)

    def _count_merchant(self, inbound: Inbound) -> Inbound:
        if inbound.caller is None or not inbound.caller.merchant_uuid:
            return inbound
        return self._limits.partner(_party(inbound)[0], self._limit(inbound), inbound)

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
                channel_no=inbound.params.get("channel_no", "")[:LOGGED_CHARS_MAX],
                request_no=inbound.params.get("request_no", "")[:LOGGED_CHARS_MAX],
            )


def shares(settings: GatewaySettings) -> bulkhead.Limits:
    """The places in flight: each caller's share stays below all of them, and each may begin one."""
    total = settings.requests_in_flight_max
    each = min(settings.caller_in_flight_max, total - 1)
    return bulkhead.Limits(total_max=total, group_max=each, party_max=each, reserve=1)


def _party(inbound: Inbound) -> tuple[str, str]:
    """Whose share of the places a request takes: its channel's, its merchant's, else its address's."""
    if inbound.channel is not None:
        return f"channel {inbound.channel.channel_no}", ""
    if inbound.caller is not None and inbound.caller.merchant_uuid:
        return f"merchant {inbound.caller.merchant_uuid}", ""
    return f"address {inbound.remote}", ""


def _check_limits(request: web.BaseRequest, inbound: Inbound) -> None:
    if len(inbound.query) > QUERY_CHARS_MAX:
        raise Problem(GatewayError.QUERY_TOO_LONG)
    if sum(len(name) + len(value) for name, value in request.raw_headers) > HEADER_BYTES_MAX:
        raise Problem(GatewayError.HEADERS_TOO_LARGE)


def _response(answer: Outbound, method: str, request_id: str, inbound: Inbound) -> web.Response:
    body = answer.body if isinstance(answer.body, bytes) else _encode(answer.body)
    headers = _headers(answer, request_id, inbound)
    return web.Response(
        status=answer.status, body=b"" if method == "HEAD" else body, headers=headers
    )


def _headers(answer: Outbound, request_id: str, inbound: Inbound) -> CIMultiDict[str]:
    headers = CIMultiDict({"Content-Type": answer.content_type, "Cache-Control": NO_STORE})
    headers["Server"] = SERVER_NAME
    headers["X-Request-Id"] = request_id
    if answer.retry_after_s is not None:
        headers["Retry-After"] = str(answer.retry_after_s)
    elif answer.status == GatewayError.BUSY.status:
        headers["Retry-After"] = "1"
    if answer.replayed:
        headers["Idempotent-Replayed"] = "true"
    if answer.error_headers is not None:
        headers.update(answer.error_headers)
    if answer.headers is not None:
        headers.update(answer.headers)
    if inbound.quotas or inbound.places is not None:
        headers["RateLimit-Policy"] = policy(inbound.quotas, inbound.places)
        headers["RateLimit"] = remaining(inbound.quotas, inbound.places)
    return headers
