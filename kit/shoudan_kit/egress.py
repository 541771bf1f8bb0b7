"""HTTP to the outside: one client that says whether a request was sent, and never follows, leaks or hangs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDictProxy
from yarl import URL

from shoudan_kit import metrics
from shoudan_kit.guard import Guard, GuardedResolver, UrlForbidden

CONNECT_S: Final = 3.0
TOTAL_S: Final = 10.0
BODY_BYTES_MAX: Final = 64 * 1024
PER_HOST_MAX: Final = 32
DNS_CACHE_S: Final = 30


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole answer of any status; what it means is the caller's business."""

    status: int
    headers: Mapping[str, str]  # names in any case
    body: bytes


@dataclass(frozen=True, slots=True)
class NotSent:
    """Not a byte of the request left: trying again cannot do anything twice."""

    reason: str


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The request may have arrived and what came of it is unknown."""

    reason: str


Outcome = Answered | NotSent | NoAnswer


class Egress:
    """A pool of connections. With a guard, for URLs that others supplied; without, for our own.

    Connections are shared by all requests of one Egress, so an allow-list needs an Egress of its own.
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
    ) -> None:
        """`name` labels the metrics. `connect_s` covers the wait for a free connection, too."""
        self._name, self._guard = name, guard
        self._connect_s, self._total_s = connect_s, total_s
        self._per_host_max, self._body_bytes_max = per_host_max, body_bytes_max
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        total_s: float | None = None,
    ) -> Outcome:
        """Send once. Raises nothing about the other side; reasons are ours, not the other side's words."""
        began = time.perf_counter()
        try:
            checked = _parsed(url) if self._guard is None else self._guard.parse(url)
        except UrlForbidden as forbidden:
            outcome: Outcome = NotSent(forbidden.reason)
        else:
            outcome = await self._send(method, checked, headers, body, total_s or self._total_s)
        kind = type(outcome).__name__
        metrics.HTTP_CLIENT_SECONDS(self._name, kind).observe(time.perf_counter() - began)
        return outcome

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _send(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str] | None,
        body: bytes | None,
        total_s: float,
    ) -> Outcome:
        # Below the total, so that a slow connect is told apart from a slow answer.
        connect_s = min(self._connect_s, total_s * 0.9)
        timeout = aiohttp.ClientTimeout(total=total_s, connect=connect_s, ceil_threshold=60)
        try:
            async with self._opened().request(
                method, url, headers=headers, data=body, timeout=timeout, allow_redirects=False
            ) as response:
                return await self._read(response)
        except aiohttp.ClientConnectorDNSError as error:
            if isinstance(error.os_error, UrlForbidden):
                return NotSent(error.os_error.reason)
            return NotSent("name not resolved")
        except aiohttp.ConnectionTimeoutError:
            return NotSent("no connection in time")
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
            return NotSent(f"no connection ({type(error).__name__})")
        except TimeoutError:
            return NoAnswer("no answer in time")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return NoAnswer(f"answer lost or unreadable ({type(error).__name__})")

    async def _read(self, response: aiohttp.ClientResponse) -> Outcome:
        """The whole body, or NoAnswer when it is longer than we read."""
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_any():
            size += len(part)
            if size > self._body_bytes_max:
                response.close()
                return NoAnswer(f"answer longer than {self._body_bytes_max} bytes")
            parts.append(part)
        headers: CIMultiDictProxy[str] = response.headers
        return Answered(response.status, headers, b"".join(parts))

    def _opened(self) -> aiohttp.ClientSession:
        """The session, made inside the running loop at the first request."""
        if self._session is None:
            resolver = self._resolver or aiohttp.ThreadedResolver()
            guarded = resolver if self._guard is None else GuardedResolver(self._guard, resolver)
            connector = aiohttp.TCPConnector(
                limit=0,
                limit_per_host=self._per_host_max,
                resolver=guarded,
                ttl_dns_cache=DNS_CACHE_S,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"Accept-Encoding": "identity", "User-Agent": "shoudan"},
                trust_env=False,
                loop=asyncio.get_running_loop(),
            )
            # aiohttp repeats a GET on a connection that was closed under it; here a GET moves money.
            setattr(self._session, "_retry_connection", False)  # noqa: B010 - no public way
        return self._session


def _parsed(url: str) -> URL:
    """One of our own URLs; a spelling mistake in it is told as not sent."""
    try:
        parsed = URL(url)
    except ValueError:
        raise UrlForbidden("not a URL") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise UrlForbidden("not an http or https URL")
    return parsed
