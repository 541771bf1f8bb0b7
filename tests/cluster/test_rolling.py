"""Two replicas of every service under a steady load of orders, ERP pushes, calls of identity and finance: one
of each goes and comes back, then the other; no caller gets an error, stops end in time, who is back is used.

Then the link from order to pay is cut, a replica of each is killed at once, and NATS: no order is lost.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from shoudan.erp.v1 import erp_service_pb2 as erp
from shoudan.erp.v1 import erp_service_pb2_grpc as erp_grpc
from shoudan.finance.v1 import finance_service_pb2 as finance
from shoudan.finance.v1 import finance_service_pb2_grpc as finance_grpc
from shoudan.identity.v1 import identity_service_pb2 as identity
from shoudan.identity.v1 import identity_service_pb2_grpc as identity_grpc
from shoudan.pay.v1 import ledger_service_pb2 as pay
from shoudan.pay.v1 import ledger_service_pb2_grpc as pay_grpc
from shoudan_cli import bench_erp
from shoudan_cli import system as systems
from shoudan_cli.clients import Clients, Failed
from shoudan_cli.credentials import present
from shoudan_cli.system import System
from shoudan_cli.wiring import GATEWAY, LOOPBACK, choose_ports
from shoudan_kit.process.polling import until
from shoudan_kit.process.ports import free_port, http_status
from shoudan_kit.service import STOP_GRACE_S
from tests.chaos.proxy import Link, linked
from tests.poll import eventually
from tests.system import invariants
from tests.system.beside import Beside, beside
from tests.system.conftest import ORDER, Partner

# How often every replica is rolled; by hand twice: just cluster.
ROLLS = int(os.environ.get("SHOUDAN_TEST_ROLLS", "1"))

pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.timeout(600 * ROLLS),
    pytest.mark.alone("measures how soon a replica is left and called, with twenty processes"),
]

TWICE = ("pay", "delivery", "order", "erp_ingest", "identity", "finance")
PER_S = 8
ORDERS_MIN = 101
ORDERS_S_MAX = 60  # by then there are so many, however quickly all were rolled
LOOK_S = 0.25  # how often the proxy asks a gateway whether it is ready
TRAFFIC_S = 5  # by then a replica that is ready has been called
DRAIN_S = 6
# How long each fault lasts at least; by hand longer: SHOUDAN_TEST_FAULT_S=120.
FAULT_S = float(os.environ.get("SHOUDAN_TEST_FAULT_S", "6"))
AGAIN_S_MAX = 60


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

    def url(self, path: str) -> str:
        self.turn += 1
        urls = list(self.ready.values())
        return urls[self.turn % len(urls)] + path

    async def get(self, path: str, **params: str) -> int:
        async with self.http.get(self.url(path), params=params) as answer:
            await answer.read()
            return answer.status

    async def post(self, path: str, body: bytes, **params: str) -> bytes:
        async with self.http.post(self.url(path), params=params, data=body) as answer:
            return await answer.read()


@dataclass
class Load:
    """Orders, queries, pushes, calls of identity and finance at a steady pace; other answers are kept."""

    proxy: Proxy
    clients: Clients
    prefix: str
    inbox: str
    placed: int = 0
    answered: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)
    errors: list[str] = field(default_factory=list[str])
    pushes: bench_erp.Load = field(default_factory=bench_erp.Load)

    async def one(self, number: int) -> None:
        try:
            order = self.order(f"{self.prefix}-{number}")
            await asyncio.gather(order, self.push(), self.keys(), self.books())
        except (aiohttp.ClientError, TimeoutError, OSError, Failed) as error:
            self.errors.append(f"{number}: {error!r}")

    async def order(self, request_no: str) -> None:
        wanted = {**ORDER, "notify_url": self.inbox, "request_no": request_no}
        status = await self.proxy.get("/order/request", **wanted)
        asked = await self.proxy.get("/order/query", channel_no="test", request_no=request_no)
        if (status, asked) != (200, 200):
            self.errors.append(f"{request_no}: {status}, {asked}")
        self.answered += 1

    async def push(self) -> None:
        body = self.pushes.next_body()
        answer = await self.proxy.post("/pushData", body, customerid=bench_erp.SENDER)
        if bench_erp.STORED not in answer.replace(b" ", b""):
            self.errors.append(f"push: {answer!r}")
        self.pushes.acknowledged.append(hashlib.sha256(body).digest())

    async def keys(self) -> None:
        stub, wanted = identity_grpc.IdentityServiceStub, identity.PublishedKeysRequest()
        answer = await self.clients.call("identity", stub, "PublishedKeys", wanted)
        if not answer.key_set:
            self.errors.append("identity published no key")

    async def books(self) -> None:
        await self.clients.call(
            "finance", finance_grpc.FinanceServiceStub, "ListDays", finance.ListDaysRequest()
        )

    async def all_stored(self, clients: Clients) -> bool:
        """Whether every acknowledged push is kept byte for byte."""
        digests = [
            erp.CheckPushesRequest.Digest(
                kind=erp.PUSH_KIND_TRADE, sender=bench_erp.SENDER, sha256=one
            )
            for one in self.pushes.acknowledged
        ]
        stub, wanted = erp_grpc.ErpServiceStub, erp.CheckPushesRequest(digests=digests)
        answer = await clients.call("erp_ingest", stub, "CheckPushes", wanted)
        kept = [one.stored and one.intact for one in answer.results]
        return len(kept) == self.placed and all(kept)

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
    targets: dict[str, str]
    http: aiohttp.ClientSession
    pay_links: list[Link]

    def ops(self, service: str, name: str) -> int:
        """The ops port of one of the two."""
        if name == service:
            return self.system.ports[f"{service} ops"]
        return int(self.second[service].process.program.env[f"SHOUDAN_{service.upper()}_OPS_PORT"])

    def proxy(self) -> Proxy:
        """One in front of both gateways."""
        other = self.second[GATEWAY]
        return Proxy(
            self.http,
            {
                GATEWAY: (self.system.gateway_url, self.ops(GATEWAY, GATEWAY)),
                "other": (f"http://{other.target}", self.ops(GATEWAY, other.process.name)),
            },
        )

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


@pytest.fixture(scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    """One for this file: twenty processes."""
    async with AsyncExitStack() as stack:
        monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
        yield await _started(stack, monkeypatch)


async def _started(stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    ports, others = choose_ports(None, usual=False), {name: free_port() for name in TWICE}

    def chosen(*_: Any, **__: Any) -> Any:
        return ports

    monkeypatch.setattr(systems, "choose_ports", chosen)
    links = [
        await stack.enter_async_context(linked(port)) for port in (ports["pay"], others["pay"])
    ]
    targets = {name: f"ipv4:{LOOPBACK}:{ports[name]},{LOOPBACK}:{others[name]}" for name in TWICE}
    env = {f"SHOUDAN_{name.upper()}_TARGET": target for name, target in targets.items()} | {
        "SHOUDAN_DRAIN_S": str(DRAIN_S),
        "SHOUDAN_GATEWAY_LAME_DUCK_S": "2",
        "SHOUDAN_RPC_CONNECTION_AGE_S": "4",
        "SHOUDAN_ORDER_PAY_TARGET": "ipv4:" + ",".join(f"{LOOPBACK}:{link.port}" for link in links),
    }
    system = await stack.enter_async_context(System.start(profile="test", env=env))
    http = await stack.enter_async_context(aiohttp.ClientSession())
    second = {name: beside(system, name, {}, port=others.get(name)) for name in (*TWICE, GATEWAY)}
    await system.supervisor.start(*(one.process for one in second.values()))
    return Cluster(system, second, targets, http, links)


async def fill(clients: Clients) -> None:
    """Credit enough for all orders."""
    key = pay.AccountKey(ident="oms", groups="down_channel", eid="test")
    credit: Any = pay.UpdateAccountRequest(key=key, credit_micros=10**13)
    await clients.call("pay", pay_grpc.LedgerServiceStub, "UpdateAccount", credit)


async def roll(cluster: Cluster, load: Load, service: str, name: str) -> None:
    """SIGTERM, wait for its end, start it again, wait for its share of the calls."""
    began, answered = time.monotonic(), load.answered
    await cluster.system.stop(name)
    assert time.monotonic() - began < DRAIN_S + STOP_GRACE_S, f"{name} took too long to stop"
    await cluster.system.start_again(name)
    await cluster.system.wait_healthy(name)
    back = time.monotonic()
    assert load.answered > answered, f"no order was placed while {name} was away"

    async def called() -> bool:
        return await cluster.calls(service, name) > 0

    await eventually(called, TRAFFIC_S)
    assert time.monotonic() - back < TRAFFIC_S


async def test_every_replica_goes_and_comes_back_and_no_partner_gets_an_error(
    cluster: Cluster,
) -> None:
    system = cluster.system
    clients = system.clients()
    present(system.id, system.home, cluster.targets.values())
    of_both = Clients(cluster.targets, identity=system.identity)
    await fill(clients)
    partner = Partner(system, cluster.http, clients)
    proxy = cluster.proxy()
    load = Load(proxy, of_both, partner.prefix, f"{system.sandbox_url}/inbox/test")
    watching = asyncio.create_task(proxy.poll())
    await eventually(lambda: len(proxy.ready) == 2, 20)
    loading = asyncio.create_task(load.run())
    try:
        first = {name: name for name in (*TWICE, GATEWAY)}
        second = {name: one.process.name for name, one in cluster.second.items()}
        for replicas in (first, second) * ROLLS:
            await asyncio.gather(*(roll(cluster, load, *one) for one in replicas.items()))
            assert load.errors == [], f"while {sorted(replicas.values())} were rolled"
        await eventually(lambda: load.placed >= ORDERS_MIN, ORDERS_S_MAX)
    finally:
        load.over.set()
        await loading
        watching.cancel()
    assert load.errors == []
    assert load.placed >= ORDERS_MIN
    assert await load.all_stored(clients)
    await partner.all_ended(f"{partner.prefix}-", load.placed, queried=True)
    await partner.ledger_is_whole()
    await invariants.check(system)
    await of_both.close()
    await clients.close()


@dataclass
class Patient:
    """Orders at a steady pace from a partner that repeats a request until it is answered."""

    proxy: Proxy
    prefix: str
    inbox: str
    placed: int = 0
    answered: int = 0
    repeated: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def one(self, number: int) -> None:
        wanted = {**ORDER, "notify_url": self.inbox, "request_no": f"{self.prefix}-{number}"}

        async def placed() -> bool:
            try:
                done = await self.proxy.get("/order/request", **wanted) == 200
            except (aiohttp.ClientError, TimeoutError, OSError, ZeroDivisionError):
                done = False
            self.repeated += not done
            return done

        await eventually(placed, AGAIN_S_MAX, every_s=0.2)
        self.answered += 1

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while not await until(self.over.is_set, 1 / PER_S, every_s=0.05):
                group.create_task(self.one(self.placed))
                self.placed += 1

    async def go_on(self, seconds: float) -> None:
        """Until so long has passed and orders were answered meanwhile."""
        began, answered = time.monotonic(), self.answered
        await eventually(
            lambda: time.monotonic() - began >= seconds and self.answered > answered, AGAIN_S_MAX
        )


async def test_a_cut_link_and_a_replica_of_each_killed_at_once_cost_no_order(
    cluster: Cluster,
) -> None:
    system = cluster.system
    clients = system.clients()
    await fill(clients)
    partner = Partner(system, cluster.http, clients)
    proxy = cluster.proxy()
    load = Patient(proxy, partner.prefix, f"{system.sandbox_url}/inbox/test")
    watching = asyncio.create_task(proxy.poll())
    await eventually(lambda: len(proxy.ready) == 2, 20)
    loading = asyncio.create_task(load.run())
    try:
        for link in cluster.pay_links:
            link.cut()
        await load.go_on(FAULT_S)
        assert load.repeated == 0, "partners notice nothing of a cut behind the order service"
        for link in cluster.pay_links:
            link.mend()
        victims = ("order", "pay", "delivery", GATEWAY)
        await asyncio.gather(*(system.kill(name) for name in victims))
        await load.go_on(FAULT_S)
        await asyncio.gather(*(system.wait_healthy(name) for name in victims))
        await system.kill("nats")
        await load.go_on(FAULT_S)
    finally:
        load.over.set()
        await loading
        watching.cancel()
    await system.wait_healthy("nats")
    await partner.all_ended(f"{partner.prefix}-", load.placed)
    await partner.ledger_is_whole()
    await invariants.check(system)
    await clients.close()
