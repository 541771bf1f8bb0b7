"""Calls between processes, and to the outside: each may be late, lost, answered in vain or made twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import grpc
from grpc import aio
from sqlalchemy.exc import DBAPIError

from shoudan_kit.db.errors import Unavailable, away
from shoudan_kit.http.connection import Answered, NoAnswer, NotSent
from shoudan_kit.rpc.refusal import Refusal
from tests.simulation.loop import Node, SimLoop, pause

HttpResult = Answered | NotSent | NoAnswer
Server = Callable[[Node, bytes], Awaitable[HttpResult]]

BEAT_S: Final = 0.25  # of the outside

_NONE: Final = aio.Metadata()


def rpc_error(code: grpc.StatusCode, details: str = "") -> aio.AioRpcError:
    """What a stub raises."""
    return aio.AioRpcError(code, _NONE, _NONE, details)


@dataclass
class Chances:
    """How likely each fault of a call is, in thousandths."""

    lost_request: int = 0
    lost_answer: int = 0
    twice: int = 0
    slow: int = 0
    slow_s: float = 4.0
    latency_s: float = 0.02


@dataclass
class Network:
    """Who serves what, and what happens on the way."""

    loop: SimLoop
    random: Random
    chances: Chances = field(default_factory=Chances)
    servers: dict[str, list[tuple[Node, Any]]] = field(default_factory=dict[str, Any])
    counted: dict[str, int] = field(default_factory=dict[str, int])

    def serve(self, service: str, node: Node, servicer: Any) -> None:
        """A process serves these calls."""
        self.servers.setdefault(service, []).append((node, servicer))

    def latency_s(self) -> float:
        """How long one way takes."""
        if self.random.randrange(1000) < self.chances.slow:
            self.note("slow call")
            return self.random.random() * self.chances.slow_s
        if self.random.randrange(4):
            return 0.0
        return self.random.random() * self.chances.latency_s

    def beat_s(self, most: int) -> float:
        """A wait to the next beat but a few: much of what is outside happens at the same moment."""
        at = (self.loop.now // BEAT_S + 1 + self.random.randrange(most)) * BEAT_S
        return at - self.loop.now

    def note(self, fault: str) -> None:
        """Count a fault."""
        self.counted[fault] = self.counted.get(fault, 0) + 1

    async def call(
        self, caller: Node, service: str, method: str, request: Any, timeout_s: float
    ) -> Any:
        """A call of one process to a living one of a service. Raises AioRpcError."""
        chance = self.random.randrange(1000)
        await pause(caller, self.latency_s())
        alive = [one for one in self.servers.get(service, ()) if one[0].alive]
        if not alive or chance < self.chances.lost_request:
            self.note("request lost" if alive else "nobody serves")
            raise rpc_error(grpc.StatusCode.UNAVAILABLE)
        node, servicer = alive[self.random.randrange(len(alive))]
        answer: asyncio.Future[Any] = self.loop.create_future()
        lost = self.random.randrange(1000) < self.chances.lost_answer
        if lost:
            self.note("answer lost")
        handler = getattr(servicer, method)
        node.spawn(self._serve(node, handler, request, caller, None if lost else answer))
        if self.random.randrange(1000) < self.chances.twice:
            self.note("call twice")
            other, second = alive[self.random.randrange(len(alive))]
            other.spawn(self._serve(other, getattr(second, method), request, caller, None))
        caller.later(timeout_s, _fail, answer, grpc.StatusCode.DEADLINE_EXCEEDED)
        node.at_death.append(
            lambda: caller.alive and caller.soon(_fail, answer, grpc.StatusCode.UNAVAILABLE)
        )
        return await answer

    async def _serve(
        self,
        node: Node,
        handler: Callable[..., Awaitable[Any]],
        request: Any,
        caller: Node,
        answer: asyncio.Future[Any] | None,
    ) -> None:
        error: BaseException | None = None
        result: Any = None
        try:
            result = await handler(request, None)
        except Refusal as refusal:
            error = rpc_error(refusal.code, refusal.reason)
        except aio.AioRpcError as refused:
            error = refused
        except (Unavailable, DBAPIError, OSError, TimeoutError) as failed:
            error = self._failed(failed)
        if answer is not None and caller.alive:
            caller.later(self.latency_s(), _answer, answer, result, error)

    def _failed(self, error: Exception) -> aio.AioRpcError:
        if away(error):
            return rpc_error(grpc.StatusCode.UNAVAILABLE)
        self.loop.failures.append(error)
        return rpc_error(grpc.StatusCode.INTERNAL)


def _fail(answer: asyncio.Future[Any], code: grpc.StatusCode) -> None:
    if not answer.done():
        answer.set_exception(rpc_error(code))


def _answer(answer: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)


class Channel:
    """What a stub is made with."""

    def __init__(self, network: Network, node: Node, service: str) -> None:
        self._network, self._node, self._service = network, node, service

    def unary_unary(self, path: str, **_: Any) -> Callable[..., Awaitable[Any]]:
        """One method."""
        _, _, rest = path.partition("/")
        _, _, method = rest.partition("/")

        def call(request: Any, *, timeout: float = 5.0, **_: Any) -> Awaitable[Any]:
            return self._network.call(self._node, self._service, method, request, timeout)

        return call

    unary_stream = stream_unary = stream_stream = unary_unary


class Http:
    """A process's HTTP client: what is outside answers as it likes."""

    def __init__(self, network: Network, node: Node, total_s: float, serve: Server) -> None:
        self._network, self._node = network, node
        self._total_s, self._serve = total_s, serve

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Any = None,
        body: bytes | None = None,
        total_s: float | None = None,
        trace: Any = None,
    ) -> HttpResult:
        """Send once."""
        await pause(self._node, self._network.latency_s())
        return await self._serve(self._node, body or b"")

    async def aclose(self) -> None:
        """Nothing is open."""
