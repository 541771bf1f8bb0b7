"""Who calls: the name in the peer's certificate, and nothing else, authenticates a service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextvars import copy_context
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from shoudan_kit.rpc.caller import Caller, peer_of
from shoudan_kit.rpc.callers import (
    LOCAL_OWNER,
    _current,
    hand_on_from,
    handed_on_from,
)
from shoudan_kit.tls.authority import CA, CERT, CURRENT, KEY, Authority
from shoudan_kit.tls.names import server_name, service_of, spiffe_name

METHOD = "/test.Who/Ask"


class Who:
    """A server that notes who called, with mutual TLS and without."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.seen: list[Caller | None] = []

    async def start(self) -> None:
        self.server = aio.server()
        handler = grpc.unary_unary_rpc_method_handler(self._ask)
        generic = grpc.method_handlers_generic_handler("test.Who", {"Ask": handler})
        self.server.add_generic_rpc_handlers((generic,))
        place = self.authority.folder / "pay" / CURRENT
        credentials = grpc.ssl_server_credentials(
            [((place / KEY).read_bytes(), (place / CERT).read_bytes())],
            (place / CA).read_bytes(),
            require_client_auth=True,
        )
        self.port = self.server.add_secure_port("127.0.0.1:0", credentials)
        self.plain_port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()

    async def _ask(self, _request: bytes, context: Any) -> bytes:
        self.seen.append(peer_of(context))
        return b""

    async def ask_as(self, name: str) -> Caller | None:
        place = self.authority.folder / name / CURRENT
        credentials = grpc.ssl_channel_credentials(
            (place / CA).read_bytes(), (place / KEY).read_bytes(), (place / CERT).read_bytes()
        )
        options = (("grpc.ssl_target_name_override", server_name("pay")),)
        target = f"127.0.0.1:{self.port}"
        async with aio.secure_channel(target, credentials, options) as channel:
            await channel.unary_unary(METHOD)(b"", timeout=5)
        return self.seen[-1]


@pytest.fixture
async def who(tmp_path: Path) -> AsyncIterator[Who]:
    made = Who(Authority.init(tmp_path / "pki"))
    for name in ("pay", "order", "erp_ingest"):
        made.authority.issue(name)
    await made.start()
    yield made
    await made.server.stop(None)


@pytest.mark.parametrize("name", ["order", "erp_ingest"])
async def test_a_service_is_known_by_its_certificate(who: Who, name: str) -> None:
    assert await who.ask_as(name) == Caller("service", name)


async def test_a_connection_without_a_certificate_has_no_peer(who: Who) -> None:
    async with aio.insecure_channel(f"127.0.0.1:{who.plain_port}") as channel:
        await channel.unary_unary(METHOD)(b"", timeout=5)
    assert who.seen == [None]


class _Context:
    """A connection as gRPC describes it."""

    def __init__(self, *names: bytes, security: bytes = b"ssl") -> None:
        self._properties = {
            "transport_security_type": [security],
            "x509_subject_alternative_name": list(names),
        }

    def auth_context(self) -> dict[str, list[bytes]]:
        return self._properties


@pytest.mark.parametrize(
    "context",
    [
        _Context(),
        _Context(b"order.shoudan.internal"),
        _Context(b"spiffe://shoudan/order", b"spiffe://shoudan/pay"),
        _Context(b"spiffe://shoudan/order/admin"),
        _Context(b"spiffe://elsewhere/order"),
        _Context(b"SPIFFE://SHOUDAN/order"),
        _Context(b"spiffe://shoudan/"),
        _Context(b"spiffe://shoudan/\xff"),
        _Context(b"spiffe://shoudan/order", security=b"insecure"),
    ],
)
def test_any_other_name_authenticates_no_service(context: Any) -> None:
    assert peer_of(context) is None


def test_names_of_a_certificate() -> None:
    naming: Callable[[str], str | None] = service_of
    assert naming(spiffe_name("erp_ingest")) == "erp_ingest"
    assert server_name("erp_ingest") == "erp-ingest.shoudan.internal"


@pytest.mark.parametrize(
    ("name", "caller", "believed"),
    [
        (b"spiffe://shoudan/gateway", Caller("operator", "li", id="1"), True),
        (b"spiffe://shoudan/gateway", Caller("service", "gateway"), True),
        (b"spiffe://shoudan/cli", Caller("operator", "li", id="1"), False),
        (b"none", Caller("operator", "li", id="1"), False),
        (b"none", LOCAL_OWNER, True),
    ],
)
def test_only_a_service_and_this_machine_say_where_a_call_was_made(
    name: bytes, caller: Caller, believed: bool
) -> None:
    context: Any = _Context(name)

    def handed_on() -> str:
        _current.set(caller)
        hand_on_from("203.0.113.9", context)
        return handed_on_from()

    assert copy_context().run(handed_on) == ("203.0.113.9" if believed else "")
