"""Links between processes: options the library knows, idle links that live, a quick way back."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc._cython import cygrpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from shoudan_kit.config import ProcessSettings
from shoudan_kit.rpc import client, server
from tests.poll import eventually, own_time

SOURCES = Path(server.__file__).parents[3]
NAME = "test.Links"
Options = list[tuple[str, int | str]]


class Link:
    """A server without methods of its own, and a channel to it."""

    def __init__(self, port: int = 0) -> None:
        # No connection ends by its age: what ends here ends for another reason.
        settings = ProcessSettings(listen_port=port, drain_s=1, rpc_connection_age_s=300)
        self.server = server.RpcServer(settings, [], [NAME])

    async def start(self) -> None:
        port = await self.server.start()
        self.channel = client.connect(f"127.0.0.1:{port}")
        self._stub: Any = health_pb2_grpc.HealthStub(self.channel)

    async def ask(self, name: str = "") -> str | None:
        """What health says; None without an answer."""
        try:
            answer = await self._stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=1)
        except aio.AioRpcError:
            return None
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

    async def close(self) -> None:
        await self.channel.close()
        await self.server.stop()


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    made = Link()
    await made.start()
    yield made
    await made.close()


def test_every_grpc_option_named_anywhere_is_known_to_the_library():
    """A name the library does not know is ignored in silence."""
    library = Path(cygrpc.__file__).read_bytes()
    named: set[str] = set()
    for part in ("kit", "cli", "fakes", "signing", "configuration", "gateway", "services"):
        for path in (SOURCES / part).rglob("*.py"):
            named |= set(re.findall(r'"(grpc\.[a-z0-9_.]+)"', path.read_text("utf-8")))
    assert {"grpc.max_reconnect_backoff_ms", "grpc.keepalive_time_ms"} <= named
    assert [name for name in sorted(named) if name.encode() + b"\0" not in library] == []


def faster(make: Callable[..., Any]) -> Callable[..., Options]:
    """The same options with their clocks of pings a hundred times as fast."""

    def options(*args: Any, **kwargs: Any) -> Options:
        return [
            (
                name,
                value // 100 if "keepalive_time_ms" in name or "ping_interval" in name else value,
            )
            for name, value in make(*args, **kwargs)
        ]

    return options


async def test_an_idle_link_lives(monkeypatch):
    monkeypatch.setattr(server, "_server_options", faster(server._server_options))
    monkeypatch.setattr(client, "_client_options", faster(client._client_options))
    link = Link()
    await link.start()
    assert await link.ask() == "SERVING"
    with suppress(TimeoutError):
        async with asyncio.timeout(4):  # a dozen pings
            await link.channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
    assert link.channel.get_state() is grpc.ChannelConnectivity.READY
    await link.close()


async def test_clients_are_back_within_two_seconds_at_a_replica_that_was_away(link):
    assert await link.ask() == "SERVING"
    await link.server.stop()
    away_until = time.monotonic() + 6

    async def long_away() -> bool:
        return await link.ask() is None and time.monotonic() > away_until

    await eventually(long_away, every_s=0.1)
    again = Link(link.server.port)
    await again.start()
    async with own_time() as took:
        await eventually(link.ask, 20)
        assert took() < 2.5
    await again.close()


async def test_bytes_that_are_no_message_are_an_invalid_argument(link):
    check = link.channel.unary_unary("/grpc.health.v1.Health/Check")
    with pytest.raises(aio.AioRpcError) as raised:
        await check(b"\xff\xff\xff", timeout=2)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "Error" not in (raised.value.details() or "")


async def test_health_says_what_it_is_told(link):
    for serving, said in ((False, "NOT_SERVING"), (True, "SERVING")):
        await link.server.set_serving(serving=serving)
        assert [await link.ask(name) for name in ("", NAME)] == [said, said]
