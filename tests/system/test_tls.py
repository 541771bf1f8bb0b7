"""Promises: what goes between processes is read by no one in between, and no one without a certificate of
the system's authority is let in, at any port."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import nats as nats_client
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from nats.errors import Error as NatsError

from shoudan_cli.system import System
from shoudan_cli.wiring import CONSOLE, GATEWAY, SANDBOX, SERVICES, STORES
from shoudan_kit.process.ports import free_port
from shoudan_kit.rpc.client import connect
from shoudan_kit.tls.authority import CERT, CURRENT, KEY, Authority
from shoudan_kit.tls.identity import Files, Identity
from shoudan_kit.tls.names import server_name
from tests.poll import eventually
from tests.preloaded import Nursery
from tests.system.conftest import ORDER

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(300)]

CANARY = "6217000010001234567"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
# HTTP for partners, health and metrics, the played outside, and PostgreSQL on loopback.
PLAIN = {
    *(GATEWAY, CONSOLE, "internal", SANDBOX, "postgres"),
    *(f"{one} ops" for one in (*STORES, GATEWAY)),
}


class Wire:
    """A TCP proxy that keeps every byte: what a listener between two processes sees."""

    def __init__(self) -> None:
        self.port, self.target = free_port(), 0
        self.seen = bytearray()
        self._links: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._link, "127.0.0.1", self.port)

    async def close(self) -> None:
        self._server.close()
        links = list(self._links)
        for one in links:
            one.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task: Any = asyncio.current_task()
        self._links.add(task)
        task.add_done_callback(self._links.discard)
        with closing(writer), suppress(OSError):
            inner_reader, inner = await asyncio.open_connection("127.0.0.1", self.target)
            with closing(inner):
                await asyncio.gather(self._pump(reader, inner), self._pump(inner_reader, writer))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with closing(sink):
            while data := await source.read(65_536):
                self.seen += data
                sink.write(data)
                await sink.drain()


HOPS = {  # setting of the caller: the port called
    "SHOUDAN_GATEWAY_ORDER_TARGET": "order",
    "SHOUDAN_ORDER_PAY_TARGET": "pay",
    "SHOUDAN_ORDER_DELIVERY_TARGET": "delivery",
    "SHOUDAN_DELIVERY_ORDER_TARGET": "order",
    "SHOUDAN_ORDER_NATS_URL": "nats",
}


class House:
    """A system whose hops go through wires."""

    def __init__(self, system: System, wires: dict[str, Wire]) -> None:
        self.system, self.wires = system, wires

    async def order(self, number: str) -> None:
        """One whole order, from request to notify."""
        inbox = f"{self.system.sandbox_url}/inbox/test"
        values = {**ORDER, "request_no": number, "rechage_account": CANARY, "notify_url": inbox}
        async with aiohttp.ClientSession() as http:
            url = f"{self.system.gateway_url}/order/request"
            async with http.get(url, params=values) as answer:
                assert answer.status == 200, await answer.text()
        await eventually(lambda: self._ended(number), 60, every_s=0.2)

    async def _ended(self, number: str) -> bool:
        async with self.system.postgres.admin("shoudan_order") as db:
            return await db.fetchval(
                "SELECT order_status = 0 AND notify_status = 0 AND NOT EXISTS"
                " (SELECT FROM outbox WHERE NOT published)"
                " FROM oms_order_info WHERE request_no = $1",
                number,
            )


async def started(stack: AsyncExitStack, *, tls: bool) -> House:
    wires: dict[str, Wire] = {}
    env: dict[str, str] = {}
    for variable in HOPS:
        wire = wires[variable] = Wire()
        await wire.start()
        stack.push_async_callback(wire.close)
        address = f"127.0.0.1:{wire.port}"
        env[variable] = f"tls://{address}" if variable.endswith("_URL") else address
    if not tls:
        del env["SHOUDAN_ORDER_NATS_URL"]  # its password is not known yet
    system = System.start(profile="test", env=env, tls=tls)
    # Ports are chosen in the start: the wires learn theirs when they are first used.
    entering = asyncio.ensure_future(stack.enter_async_context(_noting(system, wires)))
    return House(await entering, wires)


def _noting(start: Any, wires: dict[str, Wire]) -> Any:
    """The start, with the wires told their ports as soon as they are chosen."""
    made = System.__init__

    def noting(self: System, plan: Any, home: Path, ports: Any) -> None:
        made(self, plan, home, ports)
        for variable, wire in wires.items():
            wire.target = ports[HOPS[variable]]
        System.__init__ = made

    System.__init__ = noting
    return start


@pytest.fixture(scope="module")
async def house(nursery: Nursery) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        stack.enter_context(nursery.away())  # what /proc shows of a forked process is not its own
        yield await started(stack, tls=True)


async def test_a_whole_order_shows_no_plaintext_on_any_hop(house: House) -> None:
    await house.order("canary-of-tls")
    for variable, wire in house.wires.items():
        assert len(wire.seen) > 1_000, f"nothing went through the wire of {variable}"
        for word in (CANARY, "canary-of-tls", "shoudan.order.v1", "shoudan.events", "PRI * HTTP"):
            assert word.encode() not in wire.seen, f"{word} is readable on {variable}"


async def test_without_tls_the_same_wires_show_it() -> None:
    """The search above finds what there is to be found."""
    async with AsyncExitStack() as stack:
        house = await started(stack, tls=False)
        await house.order("canary-in-clear")
        seen = house.wires["SHOUDAN_GATEWAY_ORDER_TARGET"].seen
        for word in (CANARY, "canary-in-clear", "PRI * HTTP"):
            assert word.encode() in seen


def stolen(other: Authority, name: str, ours: Path) -> Identity:
    """A certificate of another authority that believes ours."""
    other.issue(name)
    place = other.folder / name / CURRENT
    return Identity(Files(place / CERT, place / KEY, ours))


async def test_another_authority_s_certificate_is_refused_at_every_port(
    house: House, tmp_path: Path
) -> None:
    system = house.system
    assert system.certificates is not None
    files = system.certificates.files("gateway")
    other = Authority.init(tmp_path / "other")
    assert set(system.ports.numbers) == {*SERVICES, "nats", *PLAIN}, "a listener nobody tests"
    for name in SERVICES:
        forged = stolen(other, "gateway", files.ca)
        for identity in (forged, None):
            assert not await answers(system, name, identity)
        assert await answers(system, name, Identity(files))
        for context in (old_tls(files), bare(files)):
            assert await refused(system.ports[name], context, server_name(name))
    forged = stolen(other, "order", files.ca)
    with pytest.raises((NatsError, OSError)):
        await nats_client.connect(
            system.nats.url,
            tls=forged.client_context(),
            tls_handshake_first=True,
            allow_reconnect=False,
        )
    assert await refused(system.ports["nats"], old_tls(files), "127.0.0.1")


async def answers(system: System, name: str, identity: Identity | None) -> bool:
    """Whether health of a service says anything to this caller."""
    async with connect(system.target(name), name, identity, retry=False) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
        except aio.AioRpcError as error:
            return error.code() is not grpc.StatusCode.UNAVAILABLE
    return True


def old_tls(files: Files) -> ssl.SSLContext:
    """The right certificate, TLS 1.2."""
    context = Identity(files).client_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    return context


def bare(files: Files) -> ssl.SSLContext:
    """The right authority, no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(files.ca)
    context.set_alpn_protocols(["h2"])
    return context


async def refused(port: int, context: ssl.SSLContext, name: str) -> bool:
    """Whether a connection ends before anything can be asked."""
    try:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname=name
        )
        with closing(writer):
            writer.write(PREFACE)
            async with asyncio.timeout(5):
                return not await reader.read(1_024)
    except OSError:
        return True


def environ_of(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


async def test_each_process_is_given_its_own_certificate_alone(house: House) -> None:
    for name in (*SERVICES, GATEWAY):
        given = environ_of(house.system.supervisor.pid(name))
        keys = {key for key, value in given.items() if value.endswith(f"/{KEY}")}
        assert keys == {f"SHOUDAN_{name.upper()}_TLS_KEY"}
        assert f"/{name}/" in given[f"SHOUDAN_{name.upper()}_TLS_KEY"]


async def test_certificates_are_renewed_while_orders_go_on(house: House) -> None:
    """Every certificate is replaced while the system works; orders go on and events arrive."""
    certificates = house.system.certificates
    assert certificates is not None
    for name, also in (("nats", ["127.0.0.1"]), *((one, ()) for one in (*SERVICES, GATEWAY))):
        certificates.authority.issue(name, also)
    house.system.nats.reload()
    await asyncio.gather(*(house.order(f"renewed-{n}") for n in range(10)))
    await house.system.restart("nats")
    await house.order("renewed-after-nats")
