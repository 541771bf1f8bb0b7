"""Three servers on the configuration of deploy/kubernetes: their leader is killed, no event is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats as nats_client
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from nats.errors import Error as NatsError

from shoudan.core.v1 import core_pb2
from shoudan_kit.embedded.binaries import nats_server
from shoudan_kit.events.nats import STREAM, Bus
from shoudan_kit.events.relay import Relay
from shoudan_kit.process.child import Child, tail
from shoudan_kit.process.ports import free_port, http_status
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_kit.tls.authority import CA, CERT, CURRENT, KEY, Authority
from shoudan_kit.tls.identity import Files, Identity
from tests.poll import eventually
from tests.test_tidy import ROOT

BASE = ROOT / "deploy/kubernetes/base"
NAMES = ("nats-0", "nats-1", "nats-2")
EVENTS, AT_ONCE = 240, 8
START_S = 40  # three servers that elect a leader, on a busy machine


@dataclass
class Server:
    """One of the three, on ports and a folder of its own."""

    name: str
    folder: Path
    port: int
    monitor: int
    child: Child | None = None

    def launch(self) -> None:
        self.child = Child.spawn(
            [str(nats_server()), "-c", str(self.folder / "nats.conf")],
            env={"PATH": os.defpath, "NATS_NAME": self.name},
            output=self.folder / "log",
            death_signal=signal.SIGKILL,
            cwd=Path("/"),
        )

    async def healthy(self) -> bool:
        return await http_status(self.monitor, "/healthz") == 200


def configured(folder: Path, ports: dict[str, int], routes: dict[str, int], tls: Path) -> Server:
    """The files of the manifests, with this machine's ports and folders in the place of a pod's."""
    name, monitor = folder.name, free_port()
    (folder / "data").mkdir(parents=True)
    changed = {
        "port: 4222": f"host: 127.0.0.1\nport: {ports[name]}",
        "0.0.0.0:8222": f"127.0.0.1:{monitor}",
        "/data": str(folder / "data"),
        "port: 6222": f"host: 127.0.0.1\n  port: {routes[name]}",
        "/tls/current": str(tls),
        **{f"{one}.nats:6222": f"127.0.0.1:{port}" for one, port in routes.items()},
    }
    for file in BASE.glob("nats*.conf"):
        text = file.read_text()
        for old, new in changed.items():
            text = text.replace(old, new)
        (folder / file.name).write_text(text)
    return Server(name, folder, ports[name], monitor)


@dataclass
class NatsCluster:
    """The three, and who may connect."""

    servers: dict[str, Server]
    authority: Authority

    @property
    def urls(self) -> list[str]:
        return [f"tls://127.0.0.1:{one.port}" for one in self.servers.values()]

    @property
    def identity(self) -> Identity:
        place = self.authority.folder / "order" / CURRENT
        return Identity(Files(place / CERT, place / KEY, place / CA))

    async def client(self) -> Any:
        return await nats_client.connect(
            self.urls,
            tls=self.identity.client_context(),
            tls_handshake_first=True,
            inbox_prefix="_INBOX.order",
        )

    async def leader(self) -> str:
        client = await self.client()
        try:
            return (await client.jetstream().stream_info(STREAM)).cluster.leader
        finally:
            await client.close()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[NatsCluster]:
    authority = Authority.init(tmp_path / "pki")
    authority.issue("nats", ["127.0.0.1"])
    authority.issue("order")
    tls = authority.folder / "nats" / CURRENT
    ports, routes = ({name: free_port() for name in NAMES} for _ in range(2))
    servers = {name: configured(tmp_path / name, ports, routes, tls) for name in NAMES}
    for one in servers.values():
        one.launch()
    try:
        for one in servers.values():
            try:
                await eventually(one.healthy, START_S, every_s=0.1)
            except AssertionError:
                pytest.fail(tail(one.folder / "log"))
        yield NatsCluster(servers, authority)
    finally:
        for one in servers.values():
            if one.child is not None:
                await one.child.stop(signal.SIGKILL)


async def stored(cluster: NatsCluster) -> list[str]:
    """The key of every event in the stream."""
    client = await cluster.client()
    try:
        js = client.jetstream()
        count = (await js.stream_info(STREAM)).state.messages
        pull = await js.pull_subscribe("shoudan.events.>", stream=STREAM)
        found: list[str] = []
        for _ in range(count):
            (message,) = await pull.fetch(1, timeout=5)
            found += [one.key for one in core_pb2.EventBatch.FromString(message.data).events]
        return found
    finally:
        await client.close()


@pytest.mark.slow
async def test_no_event_is_lost_when_the_streams_leader_is_killed(cluster, database, ids) -> None:
    bus = Bus(cluster.urls, "order", 3, cluster.identity)
    relay = Relay(bus, database, "order", scan_s=0.2, older_s=0.5)
    bus.start()
    relay.start()
    await eventually(lambda: bus.connected and relay._refill.looked, START_S)
    leader = await cluster.leader()
    keys = [f"e{number}" for number in range(EVENTS)]
    for start in range(0, EVENTS, AT_ONCE):
        if start == EVENTS // 2:
            await cluster.servers[leader].child.stop(signal.SIGKILL)
        async with UnitOfWork(database, ids, None, relay) as work:
            for key in keys[start : start + AT_ONCE]:
                body = StringValue(value=key)
                work.events.add("shoudan.events.order.thing.made", key=key, body=body)

    async def all_there() -> bool:
        try:
            return set(keys) <= set(await stored(cluster))
        except (NatsError, OSError, TimeoutError):
            return False

    await eventually(all_there, START_S, every_s=0.5)
    assert await cluster.leader() not in {leader, ""}
    cluster.servers[leader].launch()
    await eventually(cluster.servers[leader].healthy, START_S, every_s=0.1)

    async def three_copies() -> bool:
        client = await cluster.client()
        try:
            group = (await client.jetstream().stream_info(STREAM)).cluster
            return [one.current for one in group.replicas] == [True, True]
        finally:
            await client.close()

    await eventually(three_copies, START_S, every_s=0.2)
    await relay.stop()
    await bus.close()
