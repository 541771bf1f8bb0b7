"""Two replicas of what an order passes through, under a steady load: one of every service goes and comes
back, then the other; no partner gets an error, stops end in time, who is back is called at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from shoudan.pay.v1 import ledger_service_pb2 as pay
from shoudan.pay.v1 import ledger_service_pb2_grpc as pay_grpc
from shoudan_cli import system as systems
from shoudan_cli.system import System
from shoudan_cli.wiring import GATEWAY, LOOPBACK, choose_ports
from shoudan_kit.process.polling import until
from shoudan_kit.process.ports import free_port, http_status
from shoudan_kit.service import STOP_GRACE_S
from tests.poll import eventually
from tests.system import invariants
from tests.system.beside import Beside, beside
from tests.system.conftest import ORDER, Partner

pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.alone("measures how soon a replica is left and called, with fourteen processes"),
]

TWICE = ("pay", "delivery", "order")
PER_S = 8
LOOK_S = 0.25  # how often the proxy asks a gateway whether it is ready
TRAFFIC_S = 5  # by then a replica that is ready has been called
DRAIN_S = 6


@dataclass
class Proxy:
    """Stands for the proxy in front: sends to gateways that said they are ready a moment ago, in turn."""

    http: aiohttp.ClientSession
    gateways: dict[str, tuple[str, int]]  # URL and ops port by name
    ready: dict[str, str] = field(default_factory=dict[str, str])
    turn: int = 0

    async def poll(self) -> None:
        while True:
            for name, (url, ops) in self.gateways.items():
                if await http_status(ops, "/readyz") == 200:
                    self.ready[name] = url
                else:
                    self.ready.pop(name, None)
            await asyncio.sleep(LOOK_S)

    async def get(self, path: str, **params: str) -> int:
        self.turn += 1
        urls = list(self.ready.values())
        async with self.http.get(urls[self.turn % len(urls)] + path, params=params) as answer:
            await answer.read()
            return answer.status


@dataclass
class Load:
    """Orders and queries at a steady pace; everything that is no answer with 200 is kept."""

    proxy: Proxy
    prefix: str
    inbox: str
    placed: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)
    errors: list[str] = field(default_factory=list[str])

    async def one(self, number: int) -> None:
        request_no = f"{self.prefix}-{number}"
        try:
            wanted = {**ORDER, "notify_url": self.inbox, "request_no": request_no}
            status = await self.proxy.get("/order/request", **wanted)
            asked = await self.proxy.get("/order/query", channel_no="test", request_no=request_no)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.errors.append(f"{request_no}: {error!r}")
            return
        if (status, asked) != (200, 200):
            self.errors.append(f"{request_no}: {status}, {asked}")

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while not await until(self.over.is_set, 1 / PER_S, every_s=0.05):
                group.create_task(self.one(self.placed))
                self.placed += 1


@dataclass
class Cluster:
    """A system whose processes know both replicas of each service."""

    system: System
    second: dict[str, Beside]
    http: aiohttp.ClientSession

    def ops(self, service: str, name: str) -> int:
        """The ops port of one of the two."""
        if name == service:
            return self.system.ports[f"{service} ops"]
        return int(self.second[service].process.program.env[f"SHOUDAN_{service.upper()}_OPS_PORT"])

    async def calls(self, service: str, name: str) -> float:
        """Calls that a replica has answered since it started."""
        url = f"http://{LOOPBACK}:{self.ops(service, name)}/metrics"
        async with self.http.get(url) as answer:
            text = await answer.text()
        wanted = (
            "shoudan_http_seconds_count"
            if service == GATEWAY
            else "shoudan_rpc_server_seconds_count"
        )
        lines = (
            one for one in text.splitlines() if one.startswith(wanted) and "Health/" not in one
        )
        return sum(float(one.rpartition(" ")[2]) for one in lines)


@pytest.fixture
async def cluster(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    ports, others = choose_ports(None, usual=False), {name: free_port() for name in TWICE}
    monkeypatch.setattr(systems, "choose_ports", lambda *_, **__: ports)
    env = {
        f"SHOUDAN_{name.upper()}_TARGET": f"ipv4:{LOOPBACK}:{ports[name]},{LOOPBACK}:{others[name]}"
        for name in TWICE
    }
    env |= {
        "SHOUDAN_DRAIN_S": str(DRAIN_S),
        "SHOUDAN_GATEWAY_LAME_DUCK_S": "2",
        "SHOUDAN_RPC_CONNECTION_AGE_S": "4",
    }
    async with System.start(profile="test", env=env) as system, aiohttp.ClientSession() as http:
        second = {
            name: beside(system, name, {}, port=others.get(name)) for name in (*TWICE, GATEWAY)
        }
        await system.supervisor.start(*(one.process for one in second.values()))
        yield Cluster(system, second, http)


async def roll(cluster: Cluster, service: str, name: str) -> None:
    """SIGTERM, wait for its end, start it again, wait for its share of the calls."""
    began = time.monotonic()
    await cluster.system.stop(name)
    assert time.monotonic() - began < DRAIN_S + STOP_GRACE_S, f"{name} took too long to stop"
    await cluster.system.start_again(name)
    await cluster.system.wait_healthy(name)
    back = time.monotonic()

    async def called() -> bool:
        return await cluster.calls(service, name) > 0

    await eventually(called, TRAFFIC_S)
    assert time.monotonic() - back < TRAFFIC_S


async def test_every_replica_goes_and_comes_back_and_no_partner_gets_an_error(
    cluster: Cluster,
) -> None:
    system = cluster.system
    clients = system.clients()
    key = pay.AccountKey(ident="oms", groups="down_channel", eid="test")
    credit: Any = pay.UpdateAccountRequest(key=key, credit_micros=10**13)
    await clients.call("pay", pay_grpc.LedgerServiceStub, "UpdateAccount", credit)
    partner = Partner(system, cluster.http, clients)
    beside_url = f"http://{cluster.second[GATEWAY].target}"
    gateways = {
        GATEWAY: (system.gateway_url, cluster.ops(GATEWAY, GATEWAY)),
        "other": (beside_url, cluster.ops(GATEWAY, cluster.second[GATEWAY].process.name)),
    }
    proxy = Proxy(cluster.http, gateways)
    load = Load(proxy, partner.prefix, f"{system.sandbox_url}/inbox/test")
    watching = asyncio.create_task(proxy.poll())

    async def both_ready() -> bool:
        return len(proxy.ready) == 2

    await eventually(both_ready, 20)
    loading = asyncio.create_task(load.run())
    try:
        first = {name: name for name in (*TWICE, GATEWAY)}
        second = {name: one.process.name for name, one in cluster.second.items()}
        for replicas in (first, second):
            await asyncio.gather(*(roll(cluster, *one) for one in replicas.items()))
            assert load.errors == [], f"while {sorted(replicas.values())} were rolled"
    finally:
        load.over.set()
        await loading
        watching.cancel()
    assert load.errors == []
    assert load.placed > 100
    await partner.all_ended(f"{partner.prefix}-", load.placed, queried=True)
    await partner.ledger_is_whole()
    await invariants.check(system)
    await clients.close()
