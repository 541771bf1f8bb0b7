"""Mutual TLS under gRPC: who is let in, who is refused, and what a renewal of certificates costs: nothing."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from shoudan_kit.config import ProcessSettings
from shoudan_kit.rpc.client import connect
from shoudan_kit.rpc.server import RpcServer
from shoudan_kit.rpc.transport import server_credentials
from shoudan_kit.tls.authority import CA, CERT, CURRENT, KEY, Authority
from shoudan_kit.tls.identity import Files, Identity, Material
from tests.poll import eventually

SETTINGS: Any = ProcessSettings  # pyright asks for what has a default


def files(authority: Authority, name: str) -> Files:
    place = authority.folder / name / CURRENT
    return Files(place / CERT, place / KEY, place / CA)


def identity(authority: Authority, name: str) -> Identity:
    return Identity(files(authority, name), look_every_s=0)


class Expired(Identity):
    """An identity whose files are used although they are expired: what an attacker would do."""

    def __init__(self, where: Files, at: datetime) -> None:
        self._old = where.read(at)

    @property
    def material(self) -> Material:
        return self._old


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority.init(tmp_path / "pki")
    for name in ("pay", "order"):
        made.issue(name)
    return made


@pytest.fixture
async def pay(authority: Authority) -> AsyncIterator[RpcServer]:
    server = RpcServer(SETTINGS(drain_s=1), [], [], identity=identity(authority, "pay"))
    await server.start()
    yield server
    await server.stop()


async def asked(channel: aio.Channel, **options: Any) -> str:
    """What health says: its code when it is no answer."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=3, **options)
    except aio.AioRpcError as error:
        return error.code().name
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


async def outcome(pay: RpcServer, who: Identity | None, service: str = "pay") -> str:
    async with connect(f"127.0.0.1:{pay.port}", service, who, retry=False) as channel:
        return await asked(channel)


async def test_a_service_of_the_same_authority_is_answered(
    pay: RpcServer, authority: Authority
) -> None:
    assert await outcome(pay, identity(authority, "order")) == "SERVING"


async def test_a_plaintext_client_is_refused(pay: RpcServer) -> None:
    assert await outcome(pay, None) == "UNAVAILABLE"


async def test_a_certificate_of_another_authority_is_refused(
    pay: RpcServer, authority: Authority, tmp_path: Path
) -> None:
    other = Authority.init(tmp_path / "other")
    other.issue("order")
    place, ours = other.folder / "order" / CURRENT, files(authority, "order")
    forged = Identity(Files(place / CERT, place / KEY, ours.ca))
    assert await outcome(pay, forged) == "UNAVAILABLE"


async def test_a_client_without_a_certificate_is_refused(
    pay: RpcServer, authority: Authority
) -> None:
    credentials = grpc.ssl_channel_credentials(files(authority, "order").ca.read_bytes())
    options = (("grpc.ssl_target_name_override", "pay.shoudan.internal"),)
    target = f"127.0.0.1:{pay.port}"
    async with aio.secure_channel(target, credentials, options) as channel:
        assert await asked(channel) == "UNAVAILABLE"


async def test_an_expired_certificate_is_refused(pay: RpcServer, authority: Authority) -> None:
    then = datetime.now(UTC) - timedelta(days=8)
    authority.issue("order", now=then)
    old = Expired(files(authority, "order"), then)
    assert await outcome(pay, old) == "UNAVAILABLE"


async def test_a_server_with_the_name_of_another_service_is_not_believed(
    pay: RpcServer, authority: Authority
) -> None:
    assert await outcome(pay, identity(authority, "order"), "delivery") == "UNAVAILABLE"


async def test_an_authority_is_trusted_beside_another_in_one_file(
    authority: Authority, tmp_path: Path
) -> None:
    """How an authority is replaced: both are trusted until every certificate is of the new one."""
    new = Authority.init(tmp_path / "new")
    new.issue("order")
    both = tmp_path / "both.crt"
    both.write_bytes(files(authority, "pay").ca.read_bytes() + files(new, "order").ca.read_bytes())
    place, old = files(new, "order"), files(authority, "pay")
    who = Identity(Files(old.cert, old.key, both))
    server = RpcServer(SETTINGS(drain_s=1), [], [], identity=who)
    await server.start()
    try:
        assert await outcome(server, Identity(Files(place.cert, place.key, both))) == "SERVING"
        assert await outcome(server, identity(authority, "order")) == "SERVING"
    finally:
        await server.stop()


async def test_certificates_are_renewed_under_load_without_an_error(
    pay: RpcServer, authority: Authority
) -> None:
    """Both ends get new files six times while calls never pause; the last ones are in use at the end."""
    ended = asyncio.Event()
    answers: dict[str, int] = {}
    channel = connect(f"127.0.0.1:{pay.port}", "pay", identity(authority, "order"), retry=False)

    async def ask_on() -> None:
        while not ended.is_set():
            said = await asked(channel)
            answers[said] = answers.get(said, 0) + 1

    async with channel:
        callers = [asyncio.create_task(ask_on()) for _ in range(8)]
        for _ in range(6):
            wanted = sum(answers.values()) + 40
            authority.issue("pay")
            authority.issue("order")
            await eventually(lambda wanted=wanted: sum(answers.values()) > wanted)
        serial = authority.look("pay", datetime.now(UTC)).serial
        assert await served_serial(pay.port, authority) == serial
        ended.set()
        await asyncio.gather(*callers)
    assert set(answers) == {"SERVING"}


async def test_grpc_is_given_nothing_at_a_handshake_but_new_files_once(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given the same again, gRPC 1.85 frees what other handshakes use: the server ends by SIGSEGV."""
    asked_for: list[Any] = []

    def keep(*given: Any, **_: bool) -> None:
        asked_for.extend(given)

    monkeypatch.setattr(grpc, "dynamic_ssl_server_credentials", keep)
    place, ca = files(authority, "pay"), tmp_path / "ca.crt"
    ca.write_bytes(place.ca.read_bytes())
    who = Identity(Files(place.cert, place.key, ca), look_every_s=0)
    server_credentials(who)
    first, changed = asked_for
    assert isinstance(first, grpc.ServerCertificateConfiguration)
    assert [changed() for _ in range(3)] == [None] * 3
    authority.issue("pay")
    renewed = changed()
    assert isinstance(renewed, grpc.ServerCertificateConfiguration)
    assert changed() is None
    other = Authority.init(tmp_path / "other")
    other.issue("order")
    ca.write_bytes(place.ca.read_bytes() + files(other, "order").ca.read_bytes())
    assert isinstance(changed(), grpc.ServerCertificateConfiguration)
    assert changed() is None


async def served_serial(port: int, authority: Authority) -> str:
    """The serial number of the certificate that a new connection gets."""
    context = identity(authority, "order").client_context()
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="pay.shoudan.internal"
    )
    tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
    assert tls.version() == "TLSv1.3"
    peer: Any = tls.getpeercert()
    writer.close()
    del reader
    return str(peer["serialNumber"]).lower().lstrip("0")
