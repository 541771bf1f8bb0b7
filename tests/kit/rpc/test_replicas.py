"""Names that give several addresses: a replica that joins is called within 5 s, one that is gone is left
within 2 s, and whoever says that it does not serve is not called."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from shoudan_kit import metrics
from shoudan_kit.config import ProcessSettings
from shoudan_kit.process.ports import free_port
from shoudan_kit.process.shutdown import cancel_all
from shoudan_kit.rpc import client, server
from tests.poll import eventually, own_time

NAME = "test.Replicas"
JOIN_S, LEAVE_S = 5.0, 2.0
AGE_S = ProcessSettings().rpc_connection_age_s


class Names(asyncio.DatagramProtocol):
    """A name server with one name; answers whatever is asked with the addresses it has now."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self._transport: Any = None

    async def start(self) -> int:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, ("127.0.0.1", 0))
        return int(self._transport.get_extra_info("sockname")[1])

    def stop(self) -> None:
        self._transport.close()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        end = data.index(b"\0", 12) + 5  # the question: name, type, class
        kind = struct.unpack("!H", data[end - 4 : end - 2])[0]
        found = self.addresses if kind == 1 else []
        head = data[:2] + struct.pack("!HHHHH", 0x8180, 1, len(found), 0, 0)
        records = b"".join(
            b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) + socket.inet_aton(one) for one in found
        )
        self._transport.sendto(head + data[12:end] + records, addr)


class Replica(server.NoWatch):
    """A server on an address of its own; all replicas have one port, as behind a name."""

    def __init__(self, host: str, port: int) -> None:
        self.called_at = float("-inf")
        settings = ProcessSettings(
            listen_host=host, listen_port=port, drain_s=1, rpc_connection_age_s=AGE_S
        )
        self.server = server.RpcServer(settings, [], [NAME], watch=self)

    def begin(self, access: Any, caller: Any, request: Any) -> None:
        if access.path.endswith("/Check"):
            self.called_at = time.monotonic()

    async def called(self) -> bool:
        """Within the last moment."""
        return time.monotonic() - self.called_at < 0.3


@dataclass
class Caller:
    """Calls all the time; keeps what is no answer."""

    channel: aio.Channel
    failed: list[str] = field(default_factory=list[str])

    async def poll(self) -> None:
        stub: Any = health_pb2_grpc.HealthStub(self.channel)
        while True:
            try:
                await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
            except aio.AioRpcError as error:
                self.failed.append(f"{error.code().name}: {error.details()}")
            await asyncio.sleep(0.01)


@dataclass
class Group:
    """Two replicas behind a name that gives the first alone to begin with, and who calls them."""

    names: Names
    first: Replica
    second: Replica
    caller: Caller


@pytest.fixture
async def group() -> AsyncIterator[Group]:
    names, port = Names("127.0.0.1"), free_port()
    name_server = await names.start()
    first, second = Replica("127.0.0.1", port), Replica("127.0.0.2", port)
    await first.server.start()
    target = f"dns://127.0.0.1:{name_server}/replicas.test:{port}"
    channel = client.connect(target, serving_only=True)
    made = Group(names, first, second, Caller(channel))
    calling = asyncio.ensure_future(made.caller.poll())
    await eventually(first.called)
    yield made
    await cancel_all([calling])
    await channel.close()
    for one in (first, second):
        await one.server.stop()
    names.stop()


async def within(seconds: float, condition: Any) -> None:
    """The condition becomes true in time."""
    async with own_time() as took:
        await eventually(condition, seconds + 10, every_s=0.05)
        assert took() < seconds


async def test_a_replica_that_joins_is_called_in_time_and_one_that_leaves_is_left(
    group: Group,
) -> None:
    await group.second.server.start()
    group.names.addresses.append("127.0.0.2")
    await within(JOIN_S, group.second.called)
    assert await group.first.called()
    stopping = asyncio.ensure_future(group.first.server.stop())
    await within(LEAVE_S, group.second.called)
    await stopping

    async def left() -> bool:
        return not await group.first.called()

    await within(LEAVE_S, left)
    assert await group.second.called()
    assert group.caller.failed == []


async def test_a_replica_that_does_not_serve_is_left_without_an_error(group: Group) -> None:
    await group.second.server.start()
    group.names.addresses.append("127.0.0.2")
    await within(JOIN_S, group.second.called)
    await group.second.server.set_serving(serving=False)

    async def left() -> bool:
        return not await group.second.called()

    await within(LEAVE_S, left)
    assert await group.first.called()
    await group.second.server.set_serving(serving=True)
    await within(LEAVE_S, group.second.called)
    assert group.caller.failed == []


async def test_watching_health_takes_one_place_of_a_server_however_long_it_goes_on(
    group: Group,
) -> None:
    """Places are bounded (rpc_concurrency_max): a retired connection must not keep one."""
    in_progress, most = metrics.RPC_IN_PROGRESS(), 0.0
    until = time.monotonic() + 3 * AGE_S

    async def three_connections_later() -> bool:
        nonlocal most
        most = max(most, in_progress._value.get())
        return time.monotonic() > until

    await eventually(three_connections_later, 3 * AGE_S + 10, every_s=0.1)
    assert most <= 3, "a watch, one of the connection before at most, and a call"
    assert group.caller.failed == []
