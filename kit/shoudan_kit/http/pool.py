"""Kept HTTP/1.1 connections by origin: bounded, handed on from call to call, closed when idle."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from aiohttp.abc import AbstractResolver
from yarl import URL

from shoudan_kit.http.connection import Answered, Connection, NoAnswer, NotSent
from shoudan_kit.http.ssrf import UrlForbidden
from shoudan_kit.limits.fair_queue import FairQueue

IDLE_S: Final = 15.0
DNS_CACHE_S: Final = 30.0
NAMES_MAX: Final = 10_000
ANSWERS_A_TURN: Final = 16
LATE_S: Final = 0.05  # how much later than its time a call may be given up


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads: its origin, what is asked for there, and under which name."""

    host: str
    port: int
    tls: bool
    path: str
    authority: str

    @classmethod
    def of(cls, url: URL) -> Target:
        """Of an absolute http or https URL."""
        host, port, authority = url.raw_host, url.port, url.host_port_subcomponent
        assert host is not None
        assert port is not None
        assert authority is not None
        return cls(host, port, url.scheme == "https", url.raw_path_qs, authority)


@dataclass(slots=True)
class _Origin:
    """One host and port: idle connections (oldest first), how many there are in all, who waits for one."""

    idle: list[Connection] = field(default_factory=list[Connection])
    connections: set[Connection] = field(default_factory=set[Connection])
    opening: int = 0
    waiting: deque[asyncio.Future[Connection | None]] = field(
        default_factory=deque[asyncio.Future["Connection | None"]]
    )


_Key = tuple[str, int, bool]


class Pool:
    """Connections to any number of origins, at most `per_host_max` to each."""

    def __init__(
        self,
        resolver: AbstractResolver,
        *,
        per_host_max: int,
        body_bytes_max: int,
        idle_s: float = IDLE_S,
    ) -> None:
        self._loop = asyncio.get_running_loop()  # asked once: it costs a system call each time
        self._fair_queue = FairQueue(self._loop, ANSWERS_A_TURN)
        self._resolver = resolver
        self._per_host_max, self._body_bytes_max = per_host_max, body_bytes_max
        self._idle_s = idle_s
        self._origins: dict[_Key, _Origin] = {}
        self._names: dict[tuple[str, int], tuple[float, asyncio.Task[list[str]]]] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._busy: dict[Connection, float] = {}  # until when an answer may come
        self._watching: asyncio.TimerHandle | None = None
        self._tls: ssl.SSLContext | None = None
        self._closed = False

    async def exchange(
        self, target: Target, request: bytes, *, connect_s: float, total_s: float
    ) -> Answered | NotSent | NoAnswer:
        """Send `request` once and wait for its answer. `connect_s` covers the wait for a free connection."""
        now = self._loop.time()
        key = (target.host, target.port, target.tls)
        connection = self._take_idle(key, now) or await self._free_connection(key, connect_s)
        if isinstance(connection, NotSent):
            return connection
        answer = connection.ask(request)
        self._busy[connection] = now + total_s
        if self._watching is None:
            self._watching = self._loop.call_later(LATE_S, self._watch)
        try:
            return await answer
        except asyncio.CancelledError:
            connection.give_up("no longer waited for")
            raise
        finally:
            del self._busy[connection]
            self._release(key, connection)

    def _watch(self) -> None:
        """Give up calls whose time is over: one timer for all, as one each costs more than the parsing."""
        now = self._loop.time()
        for connection in [connection for connection, end in self._busy.items() if end <= now]:
            connection.give_up("no answer in time")
        again = self._busy and not self._closed
        self._watching = self._loop.call_later(LATE_S, self._watch) if again else None

    async def aclose(self) -> None:
        """Close every connection; calls under way get no answer."""
        self._closed = True
        for timer in (self._sweeping, self._watching):
            if timer is not None:
                timer.cancel()
        for _, resolving in self._names.values():
            resolving.cancel()
        for connection in [
            connection for origin in self._origins.values() for connection in origin.connections
        ]:
            connection.give_up("closed")
        await asyncio.sleep(0)  # the transports say so in the next turn
        await self._resolver.close()

    # ------------------------------------------------------------ connections
    def _take_idle(self, key: _Key, now: float) -> Connection | None:
        """The connection used last; one that may have been closed meanwhile is not trusted."""
        origin = self._origins.get(key)
        while origin is not None and origin.idle:
            connection = origin.idle.pop()
            if connection.usable and now - connection.idle_since < self._idle_s:
                return connection
            connection.give_up("idle")
        return None

    async def _free_connection(self, key: _Key, connect_s: float) -> Connection | NotSent:
        try:
            async with asyncio.timeout(connect_s):
                while True:
                    origin = self._origins.setdefault(key, _Origin())
                    if connection := self._take_idle(key, self._loop.time()):
                        return connection
                    if len(origin.connections) + origin.opening < self._per_host_max:
                        return await self._open(key, origin)
                    if connection := await self._wait(key, origin):
                        return connection
        except TimeoutError:
            return NotSent("no connection in time")

    async def _wait(self, key: _Key, origin: _Origin) -> Connection | None:
        """A connection that was released, or None: there is room for a new one."""
        given: asyncio.Future[Connection | None] = self._loop.create_future()
        origin.waiting.append(given)
        try:
            return await given
        except asyncio.CancelledError:
            if given.done() and not given.cancelled():
                self._pass_on(key, given.result())
            elif given in origin.waiting:
                origin.waiting.remove(given)
            raise

    def _pass_on(self, key: _Key, connection: Connection | None) -> None:
        if connection is not None:
            self._release(key, connection)
        else:
            self._room(key)

    def _release(self, key: _Key, connection: Connection) -> None:
        origin = self._origins.get(key)
        if origin is None or not connection.usable or self._closed:
            connection.give_up("not kept")
            return
        while origin.waiting:
            waiting = origin.waiting.popleft()
            if not waiting.done():
                waiting.set_result(connection)
                return
        connection.idle_since = self._loop.time()
        origin.idle.append(connection)
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(self._idle_s, self._sweep)

    def _room(self, key: _Key) -> None:
        """One connection less: the longest waiting call may open another."""
        origin = self._origins.get(key)
        if origin is None:
            return
        while origin.waiting:
            waiting = origin.waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return
        if not origin.connections and not origin.opening:
            del self._origins[key]

    def _sweep(self) -> None:
        """Close connections unused for a while."""
        now, kept = self._loop.time(), False
        for origin in self._origins.values():
            fresh = [
                connection
                for connection in origin.idle
                if now - connection.idle_since < self._idle_s
            ]
            old, origin.idle = origin.idle[: len(origin.idle) - len(fresh)], fresh
            kept = kept or bool(fresh)
            for connection in old:
                connection.give_up("idle")
        self._sweeping = self._loop.call_later(self._idle_s, self._sweep) if kept else None

    # ------------------------------------------------------------ new connections
    async def _open(self, key: _Key, origin: _Origin) -> Connection | NotSent:
        origin.opening += 1
        connection: Connection | None = None
        try:
            opened = await self._connect(key, origin)
            connection = opened if isinstance(opened, Connection) else None
            return opened
        finally:
            origin.opening -= 1
            if connection is None:
                self._room(key)

    async def _connect(self, key: _Key, origin: _Origin) -> Connection | NotSent:
        """To the first address that takes it."""
        host, port, tls = key
        try:
            addresses = await self._addresses(host, port)
        except UrlForbidden as forbidden:
            return NotSent(forbidden.reason)
        except OSError:
            return NotSent("name not resolved")
        loop = self._loop

        def gone(connection: Connection) -> None:
            origin.connections.discard(connection)
            if connection in origin.idle:
                origin.idle.remove(connection)
            self._room(key)

        reason = "no connection (no address)"
        for address in addresses:
            try:
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, self._body_bytes_max, self._fair_queue, gone),
                    address,
                    port,
                    ssl=self._tls_context() if tls else None,
                    server_hostname=host if tls else None,
                )
            except OSError as error:  # certificates that are not right are among them
                reason = f"no connection ({type(error).__name__})"
                continue
            origin.connections.add(connection)
            return connection
        return NotSent(reason)

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    async def _addresses(self, host: str, port: int) -> list[str]:
        """Asked for once however many wait, kept for a while; what failed is not kept."""
        try:
            return [str(ip_address(host))]
        except ValueError:
            pass  # a name
        loop = self._loop
        until, resolving = self._names.get((host, port), (0.0, None))
        failed = resolving is not None and resolving.done() and resolving.exception() is not None
        if resolving is None or failed or until < loop.time():
            if len(self._names) >= NAMES_MAX:
                self._names.clear()
            resolving = loop.create_task(self._resolve(host, port))
            self._names[host, port] = (loop.time() + DNS_CACHE_S, resolving)
        return await asyncio.shield(resolving)

    async def _resolve(self, host: str, port: int) -> list[str]:
        return [one["host"] for one in await self._resolver.resolve(host, port)]
