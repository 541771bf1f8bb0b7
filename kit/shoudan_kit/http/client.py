"""HTTP to the outside: one client that says whether a request was sent, and never follows, leaks or hangs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from aiohttp.abc import AbstractResolver
from yarl import URL

from shoudan_kit import metrics
from shoudan_kit.http.connection import Answered, NoAnswer, NotSent
from shoudan_kit.http.pool import IDLE_S, Pool, Target
from shoudan_kit.http.resolver import Resolver
from shoudan_kit.http.ssrf import Guard, GuardedResolver, UrlForbidden
from shoudan_kit.tracing import spans
from shoudan_kit.tracing.trace import TRACEPARENT, Trace

__all__ = ["Answered", "HttpClient", "HttpResult", "NoAnswer", "NotSent"]

CONNECT_S: Final = 3.0
TOTAL_S: Final = 10.0
BODY_BYTES_MAX: Final = 64 * 1024
PER_HOST_MAX: Final = 32
TARGETS_MAX: Final = 1_000
ALWAYS: Final = "\r\nAccept: */*\r\nAccept-Encoding: identity\r\nUser-Agent: shoudan"


HttpResult = Answered | NotSent | NoAnswer


class HttpClient:
    """A pool of connections. With a guard, for URLs that others supplied; without, for our own.

    Connections are shared by all requests of one HttpClient, so an allow-list needs an HttpClient of its own.
    No redirects, cookies, proxies from the environment or silent repeats; answers are read to
    `body_bytes_max` and not unpacked.
    """

    def __init__(
        self,
        name: str,
        *,
        guard: Guard | None = None,
        connect_s: float = CONNECT_S,
        total_s: float = TOTAL_S,
        per_host_max: int = PER_HOST_MAX,
        body_bytes_max: int = BODY_BYTES_MAX,
        resolver: AbstractResolver | None = None,
        idle_s: float = IDLE_S,
    ) -> None:
        """`name` labels the metrics. `connect_s` covers the wait for a free connection, too."""
        self._name, self._guard = name, guard
        self._connect_s, self._total_s = connect_s, total_s
        self._per_host_max, self._body_bytes_max = per_host_max, body_bytes_max
        self._resolver, self._idle_s = resolver, idle_s
        self._targets: dict[str, Target] = {}
        self._pool: Pool | None = None

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        total_s: float | None = None,
        trace: Trace | None = None,
    ) -> HttpResult:
        """Send once. Raises nothing about the other side; reasons are ours, not the other side's words.

        With a `trace` the request carries a traceparent, and what is sampled leaves a span.
        """
        began, began_ns = time.perf_counter(), spans.now_ns()
        headers, hop = headers or {}, None
        if trace is not None:
            hop = trace.child()
            headers = {**headers, TRACEPARENT: hop.traceparent}
        result = await self._send(method, url, headers, body, total_s or self._total_s)
        kind = type(result).__name__
        metrics.HTTP_CLIENT_SECONDS(self._name, kind).observe(time.perf_counter() - began)
        if hop is not None and hop.sampled:
            failed = "" if isinstance(result, Answered) else kind
            spans.record(self._name, "client", [(trace, hop)], began_ns, failed=failed)
        return result

    async def aclose(self) -> None:
        """Close all connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, total_s: float
    ) -> HttpResult:
        try:
            target = self._target(url)
            request = _request(method, target, headers, body)
        except UrlForbidden as forbidden:
            return NotSent(forbidden.reason)
        # Below the total, so that a slow connect is distinguished from a slow answer.
        connect_s = min(self._connect_s, total_s * 0.9)
        pool = self._pool or self._open()
        return await pool.exchange(target, request, connect_s=connect_s, total_s=total_s)

    def _target(self, url: str) -> Target:
        """What is allowed stays allowed: the same text is looked at once. Raises UrlForbidden."""
        target = self._targets.get(url)
        if target is None:
            checked = _parsed(url) if self._guard is None else self._guard.parse(url)
            if len(self._targets) >= TARGETS_MAX:
                self._targets.clear()
            target = self._targets[url] = Target.of(checked)
        return target

    def _open(self) -> Pool:
        """The pool, made inside the running loop at the first request."""
        resolver = self._resolver or Resolver()
        guarded = resolver if self._guard is None else GuardedResolver(self._guard, resolver)
        self._pool = Pool(
            guarded,
            per_host_max=self._per_host_max,
            body_bytes_max=self._body_bytes_max,
            idle_s=self._idle_s,
        )
        return self._pool


def _request(method: str, target: Target, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """The bytes sent. Raises UrlForbidden for a header that would begin another one."""
    lines = [f"{method} {target.path} HTTP/1.1\r\nHost: {target.authority}{ALWAYS}"]
    for name, value in headers.items():
        if ":" in name or not name.isprintable() or not value.isprintable():
            raise UrlForbidden("header with control characters")
        lines.append(f"{name}: {value}")
    if body is None and method == "GET":
        lines.append("\r\n")
        return "\r\n".join(lines).encode()
    body = body or b""
    lines.append(f"Content-Length: {len(body)}\r\n\r\n")
    return "\r\n".join(lines).encode() + body


def _parsed(url: str) -> URL:
    """One of our own URLs; a spelling mistake in it counts as not sent."""
    try:
        parsed = URL(url)
    except ValueError:
        raise UrlForbidden("not a URL") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise UrlForbidden("not an http or https URL")
    return parsed
