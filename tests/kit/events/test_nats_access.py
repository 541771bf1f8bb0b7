"""NATS over TLS: each service is its certificate, publishes its own events alone, and its acks arrive."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import nats as nats_client
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from google.protobuf.wrappers_pb2 import StringValue
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from shoudan.core.v1 import core_pb2
from shoudan_kit.embedded import Nats
from shoudan_kit.events.kept import Kept
from shoudan_kit.events.nats import STREAM, Bus
from shoudan_kit.events.relay import Relay
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_kit.tls.authority import CA, CERT, CURRENT, KEY, Authority
from shoudan_kit.tls.identity import Files, Identity
from shoudan_kit.tls.nats_access import permissions
from tests.poll import eventually, until

SERVICES = ("order", "pay", "t", "gateway")
FLAGS: dict[str, Any] = {"feature_flags": {"js_ack_fc_v2": True}}


class FlaggedNats(Nats):
    """A server whose acknowledgements have the new form of subject."""

    def _config(self) -> dict[str, Any]:
        return {**super()._config(), **FLAGS}


class House:
    """An authority, a NATS with TLS, and the services' certificates."""

    def __init__(self, authority: Authority, nats: Nats) -> None:
        self.authority, self.nats = authority, nats

    def files(self, name: str) -> Files:
        place = self.authority.folder / name / CURRENT
        return Files(place / CERT, place / KEY, place / CA)

    def bus(self, name: str) -> Bus:
        return Bus(self.nats.url, name, identity=Identity(self.files(name), look_every_s=0))

    async def client(self, name: str, **options: Any) -> Any:
        """A connection that may say what it likes: what the server lets through is the test."""
        context = Identity(self.files(name)).client_context()
        given: dict[str, Any] = {
            "tls": context,
            "tls_handshake_first": True,
            "allow_reconnect": False,
            "inbox_prefix": f"_INBOX.{name}",
        }
        return await nats_client.connect(self.nats.url, **{**given, **options})

    async def told(self, name: str, subject: str, *, wait_s: float = 0) -> str:
        """What the server says to a publication of `name` within `wait_s`; empty when it is let through."""
        errors: list[str] = []

        async def note(error: Exception) -> None:
            errors.append(str(error))

        client = await self.client(name, error_cb=note)
        try:
            await client.publish(subject, b"forged")
            await client.flush(timeout=5)
            await client.flush(timeout=5)
            await until(lambda: _true(errors), wait_s)
        finally:
            await client.close()
        return " ".join(errors)


async def _true(found: list[str]) -> bool:
    return bool(found)


@pytest.fixture(params=[Nats, FlaggedNats], ids=["plain", "js_ack_fc_v2"])
async def house(request: Any, tmp_path: Path) -> AsyncIterator[House]:
    authority = Authority.init(tmp_path / "pki")
    authority.issue("nats", ["127.0.0.1"])
    for name in SERVICES:
        authority.issue(name)
    place = authority.folder / "nats" / CURRENT
    tls = Files(place / CERT, place / KEY, place / CA)
    async with await request.param.start(tls=tls, services=SERVICES) as server:
        yield House(authority, server)


async def connected(bus: Bus) -> None:
    bus.start()
    await eventually(lambda: bus.connected and bus._js is not None)


async def test_a_service_publishes_and_consumes_and_its_acks_arrive(house: House) -> None:
    pay, order = house.bus("pay"), house.bus("order")
    await connected(pay)
    await connected(order)
    seen: list[str] = []

    async def handle(events: Any) -> None:
        seen.extend(one.key for one in events)

    consuming = asyncio.create_task(order.consume("order-books", "shoudan.events.pay.>", handle))
    batch = core_pb2.EventBatch(events=[core_pb2.Event(key="k1")])
    await pay.publish("shoudan.events.pay.posting.made", batch.SerializeToString(), "id-1")
    assert await pay.last("shoudan.events.pay.>") is not None

    async def settled() -> bool:
        assert order._js is not None
        try:
            info = await order._js.consumer_info(STREAM, "order-books")
        except NotFoundError:
            return False
        return info.ack_floor.consumer_seq == 1 and info.num_ack_pending == 0

    await eventually(settled)
    assert seen == ["k1"]
    consuming.cancel()
    await asyncio.gather(consuming, return_exceptions=True)
    await pay.close()
    await order.close()


async def test_an_event_of_another_service_is_refused(house: House) -> None:
    order = house.bus("order")
    await connected(order)
    with pytest.raises((NatsError, TimeoutError)):
        await asyncio.wait_for(order.publish("shoudan.events.pay.posting.made", b"x", "id-2"), 2)
    assert await order.last("shoudan.events.pay.>") is None
    await order.close()


@pytest.mark.parametrize(
    "subject",
    [
        "shoudan.events.pay.posting.made",
        "shoudan.events.order2.made",
        f"$JS.API.STREAM.DELETE.{STREAM}",
        f"$JS.API.STREAM.PURGE.{STREAM}",
        f"$JS.API.STREAM.UPDATE.{STREAM}",
        f"$JS.API.STREAM.MSG.DELETE.{STREAM}",
        f"$JS.API.CONSUMER.DELETE.{STREAM}.order-books",
        "$JS.API.STREAM.CREATE.OTHER",
        "$SYS.REQ.SERVER.PING",
        "_INBOX.pay.forged",
    ],
)
async def test_what_a_service_may_not_say(house: House, subject: str) -> None:
    assert "permissions violation" in (await house.told("order", subject, wait_s=5)).lower()


@pytest.mark.parametrize("subject", ["shoudan.task.oms.order.pay", "shoudan.events.order.made"])
async def test_what_a_service_may_say(house: House, subject: str) -> None:
    assert await house.told("order", subject) == ""


@pytest.mark.parametrize("subject", ["_INBOX.pay.>", "_INBOX.>", "shoudan.events.>", ">"])
async def test_a_service_listens_to_no_other(house: House, subject: str) -> None:
    errors: list[str] = []

    async def note(error: Exception) -> None:
        errors.append(str(error))

    client = await house.client("order", error_cb=note)
    await client.subscribe(subject)
    await client.flush(timeout=5)
    await eventually(lambda: errors)
    await client.close()
    assert "permissions violation" in " ".join(errors).lower()


async def refused(url: str, **options: Any) -> None:
    """Connect, be refused, and close what the library leaves open of a refused connection."""
    client = Client()
    with pytest.raises((NatsError, OSError, TimeoutError)):
        await client.connect(url, allow_reconnect=False, connect_timeout=2, **options)
    transport: Any = client._transport
    await client.close()
    if transport is not None:
        for writer in filter(None, (transport._io_writer, transport._bare_io_writer)):
            writer.transport.abort()


async def test_who_is_not_let_in(house: House, tmp_path: Path) -> None:
    """No certificate, one of another authority, one of no service, and no TLS at all."""
    other = Authority.init(tmp_path / "other")
    other.issue("order")
    house.authority.issue("stranger")
    theirs, ours = other.folder / "order" / CURRENT, house.files("order")
    forged = Identity(Files(theirs / CERT, theirs / KEY, ours.ca)).client_context()
    bare = type(forged)(forged.protocol)
    bare.load_verify_locations(ours.ca)
    stranger = Identity(house.files("stranger")).client_context()
    for context in (forged, bare, stranger):
        await refused(house.nats.url, tls=context, tls_handshake_first=True)
    await refused(house.nats.url.replace("tls://", "nats://"))


async def test_gateways_share_a_value_that_no_other_service_changes(house: House) -> None:
    one, other, order = house.bus("gateway"), house.bus("gateway"), house.bus("order")
    for bus in (one, other, order):
        await connected(bus)
    here, there = Kept(one, "gateway_shares"), Kept(other, "gateway_shares")
    assert await here.read() == (b"", 0)
    assert await here.write(b"first", 0)
    value, revision = await there.read()
    assert value == b"first"
    assert not await there.write(b"late", revision + 1)
    assert await there.write(b"second", revision)
    assert not await here.write(b"stale", revision)
    with pytest.raises((NatsError, TimeoutError)):
        await asyncio.wait_for(Kept(order, "gateway_shares").write(b"forged", revision), 2)
    said = await house.told("order", "$KV.gateway_shares.all", wait_s=5)
    assert "permissions violation" in said.lower()
    assert (await here.read())[0] == b"second"
    for bus in (one, other, order):
        await bus.close()


async def test_the_relay_publishes_over_tls(house: House, database: Any, ids: Any) -> None:
    bus = house.bus("t")
    relay = Relay(bus, database, "t", scan_s=0.1, older_s=0.2, look_every_s=0.2)
    await connected(bus)
    relay.start()
    async with UnitOfWork(database, ids, None, relay) as work:
        body = StringValue(value="a")
        work.events.add("shoudan.events.t.thing.made", key="a", body=body, tag="下单", text="x")

    async def arrived() -> bool:
        return await bus.last("shoudan.events.t.>") is not None

    await eventually(arrived)
    await relay.stop()
    await bus.close()


async def test_new_certificates_are_taken_by_server_and_clients(house: House) -> None:
    order = house.bus("order")
    await connected(order)
    for name in ("nats", "order"):
        house.authority.issue(name, ["127.0.0.1"] if name == "nats" else [])
    house.nats.reload()
    assert order._nats is not None
    await order._nats._process_op_err(ConnectionResetError())  # the link breaks
    await eventually(lambda: shows_newest(house, "order"))
    await order.publish("shoudan.events.order.made", b"", "id-3")
    lost = order.disconnects
    await house.nats.kill()
    await eventually(lambda: order.disconnects > lost)
    house.authority.issue("order")  # while it tries to connect again
    await house.nats.restart()
    await eventually(lambda: shows_newest(house, "order"))
    await order.close()


async def shows_newest(house: House, name: str) -> bool:
    """Whether the server sees this service's newest certificate."""
    url = f"http://127.0.0.1:{house.nats.monitor_port}/connz?auth=1"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        found = (await answer.json(content_type=None))["connections"]
    newest = x509.load_pem_x509_certificate(house.files(name).cert.read_bytes())
    shown = [c["tls_peer_certs"][0]["cert_sha256"] for c in found if c.get("name") == name]
    return shown == [newest.fingerprint(SHA256()).hex()]


# What a service's code names because it follows it, and does not publish.
FOLLOWED = {
    "finance": {
        "shoudan.events.pay.ledger.day_closed",
        "shoudan.events.pay.account.",
        "shoudan.events.pay.account.low",
        "shoudan.events.pay.account.recovered",
    }
}


@pytest.mark.parametrize(
    "service", ["order", "pay", "delivery", "erp_ingest", "identity", "finance"]
)
def test_a_service_may_publish_every_subject_its_code_names(service: str) -> None:
    code = (Path(__file__).parents[3] / f"services/{service}").rglob("shoudan_*/**/*.py")
    text = "\n".join(file.read_text() for file in code if "migrations" not in file.parts)
    named = set(re.findall(r'"(shoudan\.events\.[a-z_.]+)', text))
    (own,) = [one for one in permissions(service)["publish"]["allow"] if ".events." in one]
    assert named
    named -= FOLLOWED.get(service, set())
    assert {one for one in named if not f"{one}.".startswith(own.removesuffix(">"))} == set()
