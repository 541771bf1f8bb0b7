"""Promises about callers: every method of the contract as every caller, against the printed matrix."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.descriptor_pool import Default
from google.protobuf.message_factory import GetMessageClass
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import shoudan
from shoudan.order.v1 import audit_service_pb2, audit_service_pb2_grpc
from shoudan_kit.config import ProcessSettings
from shoudan_kit.rpc import callers, client
from shoudan_kit.rpc.caller import Caller, peer_of
from shoudan_kit.rpc.callers import LOCAL_OWNER, Access, Callers, NoCaller, NotAllowed, access_of
from shoudan_kit.rpc.refusal import refused_from_rpc
from shoudan_kit.rpc.rights import ANYONE, NONE, ROLES, SERVICES, VIEWER, Right, right_of
from shoudan_kit.rpc.server import RpcServer
from shoudan_kit.secrets.tokens import TokenSigner, TokenVerifier, key_set, read_key_set
from shoudan_kit.tls.authority import Authority
from tests.credentials import identity_of, metadata_of, trusted_keys

PAGE: Final = Path(__file__).resolve().parents[3] / "docs/reference/en/callers.md"
SYSTEM: Final = "here"
AS_SERVICE: Final = "x-test-certificate"
KEY: Final = Ed25519PrivateKey.generate()
SIGNER: Final = TokenSigner(KEY, SYSTEM)
REFUSED: Final = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
# Methods that move money, or decide over it; a new one is added here when it is written.
MONEY: Final = {
    "CreateAccounts",
    "CreatePackage",
    "CreatePays",
    "CreateRefunds",
    "MoveCapacity",
    "Post",
    "PostEntries",
    "RefundOrder",
    "UpdateAccount",
}


def contract() -> list[Any]:
    """Every service of the contract, found in its generated modules."""
    root = Path(next(iter(shoudan.__path__)))
    found: dict[str, Any] = {}
    for file in sorted(root.rglob("*_pb2.py")):
        module = import_module(".".join(("shoudan", *file.relative_to(root).with_suffix("").parts)))
        for one in module.DESCRIPTOR.services_by_name.values():
            found[one.full_name] = one
    return list(found.values())


METHODS: Final = [(service, method) for service in contract() for method in service.methods]


def printed() -> dict[str, dict[str, bool]]:
    """The matrix as docs/reference prints it: "/service/method" to caller to whether it may."""
    made: dict[str, dict[str, bool]] = {}
    service, heads = "", [""]
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [one.strip(" `") for one in line.strip("|").split("|")]
        if line.startswith("## "):
            service = line.removeprefix("## ")
        elif line.startswith("| method"):
            heads = cells
        elif line.startswith("| `"):
            may = {head: cell == "✔" for head, cell in zip(heads[1:], cells[1:], strict=True)}
            made[f"/{service}/{cells[0]}"] = may
    return made


MATRIX: Final = printed()


def register_everything(server: aio.Server) -> None:
    """Every method of the contract; each answers UNIMPLEMENTED, which is an answer."""

    async def unary(_: Any, context: Any) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "allowed")

    for service in contract():
        handlers = {}
        for one in service.methods:
            shape = (
                grpc.unary_stream_rpc_method_handler
                if one.server_streaming
                else grpc.unary_unary_rpc_method_handler
            )
            request = GetMessageClass(one.input_type)
            handlers[one.name] = shape(unary, request.FromString, lambda _: b"")
        server.add_registered_method_handlers(service.full_name, handlers)


def certificate(context: Any) -> Caller | None:
    """Stands for the certificate of a connection: its service is named in the metadata."""
    found = dict(context.invocation_metadata()).get(AS_SERVICE)
    return Caller("service", found) if found else None


@pytest.fixture(scope="module")
async def enforcing() -> AsyncIterator[aio.Channel]:
    """A channel to a server that serves the whole contract and enforces it."""
    patch = pytest.MonkeyPatch()
    patch.setattr(callers, "peer_of", certificate)
    verifier = TokenVerifier(SYSTEM)
    verifier.trust("test", read_key_set(key_set([KEY.public_key()])))
    access = Callers("enforce", verifier.caller_of)
    # One connection for all: the channel does not retry what one that ends took along.
    settings = ProcessSettings(drain_s=1, rpc_connection_age_s=3600)
    server = RpcServer(settings, [register_everything], [], callers=access)
    port = await server.start()
    async with client.connect(f"127.0.0.1:{port}", retry=False) as channel:
        yield channel
    await server.stop()
    patch.undo()


def as_callers() -> Iterator[tuple[str, Mapping[str, str]]]:
    """Every caller with the metadata it sends; the first ones are columns of the matrix."""
    for service in SERVICES:
        yield service, {AS_SERVICE: service}
    for role in ROLES:
        yield role, {"authorization": f"Bearer {SIGNER.issue('1', 'li', [role])}"}
    every = list(ROLES)
    yield "nobody", {}
    yield "no role", bearer(SIGNER.issue("1", "li", []))
    yield "partner", bearer(SIGNER.issue("1", "zhou", [], channels=["A-1", "B-2"]))
    yield "an unknown service", {AS_SERVICE: "somewhere"}
    yield "another system's token", bearer(TokenSigner(KEY, "there").issue("1", "li", every))
    other = Ed25519PrivateKey.generate()
    yield "a forged token", bearer(TokenSigner(other, SYSTEM).issue("1", "li", every))
    yield "an expired token", bearer(expired())
    yield "no bearer", {"authorization": "Basic bGk6bGk="}
    yield "an empty token", bearer("")
    yield "a bad token beside a certificate", bearer("a.b.c") | {AS_SERVICE: "order"}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def expired() -> str:
    with time_machine.travel("2026-01-01"):
        return SIGNER.issue("1", "li", list(ROLES))


CALLERS: Final = dict(as_callers())


async def code_of(channel: aio.Channel, path: str, metadata: Mapping[str, str]) -> Any:
    """The code of one call with an empty request."""
    try:
        await channel.unary_unary(path)(b"", metadata=tuple(metadata.items()), timeout=10)
    except aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_every_method_has_callers_and_is_printed() -> None:
    paths = {f"/{service.full_name}/{method.name}" for service, method in METHODS}
    assert paths == set(MATRIX)
    assert len(paths) > 90
    nobody = [
        f"/{service.full_name}/{method.name}"
        for service, method in METHODS
        if right_of(service.full_name, method.name) == Right()
    ]
    assert nobody == [], "option (shoudan.core.v1.callers) is missing"


@pytest.mark.parametrize("caller", CALLERS, ids=str)
async def test_every_method_answers_each_caller_as_the_matrix_says(
    enforcing: aio.Channel, caller: str
) -> None:
    wrong: list[str] = []
    for path, may in MATRIX.items():
        code = await code_of(enforcing, path, CALLERS[caller])
        allowed = code not in REFUSED
        if allowed != (may["anyone"] or may.get(caller, False)):
            wrong.append(f"{path}: {code.name}")
    assert wrong == []


@pytest.mark.parametrize(
    ("caller", "code", "reason"),
    [
        ("nobody", "UNAUTHENTICATED", "NO_CALLER"),
        ("no bearer", "UNAUTHENTICATED", "NO_CALLER"),
        ("an expired token", "UNAUTHENTICATED", "TOKEN_REFUSED"),
        ("another system's token", "UNAUTHENTICATED", "TOKEN_REFUSED"),
        ("a forged token", "UNAUTHENTICATED", "TOKEN_REFUSED"),
        ("a bad token beside a certificate", "UNAUTHENTICATED", "TOKEN_REFUSED"),
        ("delivery", "PERMISSION_DENIED", "NOT_ALLOWED"),
        ("admin", "PERMISSION_DENIED", "NOT_ALLOWED"),
    ],
)
async def test_a_refusal_says_why(
    enforcing: aio.Channel, caller: str, code: str, reason: str
) -> None:
    path = "/shoudan.pay.v1.LedgerService/Post"
    with pytest.raises(aio.AioRpcError) as refused:
        await enforcing.unary_unary(path)(b"", metadata=tuple(CALLERS[caller].items()))
    assert refused.value.code().name == code
    found = refused_from_rpc(refused.value)
    assert found is not None
    assert found.reason == f"ERROR_REASON_{reason}"
    if reason == "NOT_ALLOWED":
        assert found.metadata == {"method": path, "caller": caller, "needed": "finance-maker"}


# ---------------------------------------------------------------- certificates
async def test_a_certificate_is_the_service_it_names_over_real_mutual_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "peer_of", peer_of)
    authority = Authority.init(tmp_path / "pki")
    for name in ("pay", "order", "gateway", "delivery", "cli"):
        authority.issue(name)
    trusted = trusted_keys(tmp_path)
    server = RpcServer(
        ProcessSettings(drain_s=1),
        [register_everything],
        [],
        identity=identity_of(authority, "pay"),
        callers=Callers("enforce", TokenVerifier(SYSTEM, [trusted]).caller_of, owner="cli"),
    )
    target = f"127.0.0.1:{await server.start()}"
    ledger = [path for path in MATRIX if "Ledger" in path or "Audit" in path]
    for name in ("order", "gateway", "delivery"):
        async with client.connect(target, "pay", identity_of(authority, name)) as channel:
            for path in ledger:
                allowed = await code_of(channel, path, {}) not in REFUSED
                assert allowed == MATRIX[path][name], f"{name} {path}"
            viewer = dict(metadata_of(SYSTEM, "viewer"))
            for path in ledger:  # a token goes before a certificate
                allowed = await code_of(channel, path, viewer) not in REFUSED
                assert allowed == MATRIX[path]["viewer"], f"viewer by {name} {path}"
    async with client.connect(target, "pay", identity_of(authority, "cli")) as channel:
        for path in ledger:
            allowed = await code_of(channel, path, {}) not in REFUSED
            assert allowed == any(MATRIX[path][role] for role in ROLES), path
    await server.stop()


def test_nobody_owns_a_system_unless_a_certificate_is_named() -> None:
    peer: Any = Peer("ipv4:127.0.0.1:5", AS_SERVICE, "cli")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callers, "peer_of", certificate)
        with pytest.raises(NotAllowed):
            Callers("enforce").admit(access_of("shoudan.pay.v1.LedgerService", "Post"), "", peer)


# ---------------------------------------------------------------- least privilege
def test_what_viewers_may_call_changes_nothing() -> None:
    reading = re.compile(r"/(Get|List|Query|Search|Check|Export|Report$)")
    # What every operator may call is about its own session, password and tokens.
    open_to_viewers = [p for p, may in MATRIX.items() if may[VIEWER] and not may["no role"]]
    assert [path for path in open_to_viewers if not reading.search(path)] == []


def test_what_viewers_may_call_every_role_may() -> None:
    for path, may in MATRIX.items():
        if may[VIEWER]:
            assert all(may[role] for role in ROLES), path


@pytest.mark.parametrize("method", sorted(MONEY))
def test_what_moves_money_is_open_to_finance_and_services_alone(method: str) -> None:
    found = [may for path, may in MATRIX.items() if path.endswith(f"/{method}")]
    assert found
    for may in found:
        assert not any(may[role] for role in ("viewer", "support", "ops", "admin"))


def test_only_pay_itself_and_those_before_it_reach_the_ledger() -> None:
    posting = MATRIX["/shoudan.pay.v1.LedgerService/PostEntries"]
    may_post = {name for name, may in posting.items() if may}
    # finance books what two persons decided of a difference
    assert may_post == {"gateway", "order", "finance", "finance-maker"}


def test_only_what_comes_before_a_token_is_open_to_anyone() -> None:
    found = {path.rpartition("/")[2] for path, may in MATRIX.items() if may["anyone"]}
    assert found == {
        "BeginProviderLogin",
        "ExchangeApiToken",
        "FinishProviderLogin",
        "Login",
        "Logout",
        "PublishedKeys",
        "Refresh",
    }


def test_a_method_for_anyone_asks_for_nobody_not_even_for_a_good_token() -> None:
    peer: Any = Peer("ipv4:10.0.0.1:5")
    for authorization in ("", "Bearer expired", "Basic x"):
        assert Callers("enforce").admit(Access("/x/Login", ANYONE), authorization, peer).name == ""


def test_a_method_outside_of_the_contract_is_nobodys() -> None:
    assert right_of("test.Echo", "Unary") is NONE
    assert right_of("shoudan.pay.v1.LedgerService", "Steal") is NONE
    assert not NONE.allows(Caller("operator", "li", frozenset(ROLES)))
    assert NONE.needed == "no caller"


# ---------------------------------------------------------------- health and reflection
async def health_code(channel: aio.Channel, **metadata: str) -> str:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    try:
        await stub.Check(health_pb2.HealthCheckRequest(), metadata=tuple(metadata.items()))
    except aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def reflection_code(channel: aio.Channel, metadata: Mapping[str, str]) -> str:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="*")
    try:
        async for _ in stub.ServerReflectionInfo(iter([request]), metadata=tuple(metadata.items())):
            return "OK"
    except aio.AioRpcError as error:
        return error.code().name
    return "silent"


@pytest.mark.parametrize("opened", [[], ["health"], ["reflection"], ["health", "reflection"]])
async def test_health_and_reflection_are_open_where_set_and_else_to_known_callers(
    opened: list[Any],
) -> None:
    verifier = TokenVerifier(SYSTEM)
    verifier.trust("test", read_key_set(key_set([KEY.public_key()])))
    settings = ProcessSettings(drain_s=1, rpc_open=opened)
    server = RpcServer(settings, [], [], callers=Callers("enforce", verifier.caller_of))
    port = await server.start()
    async with client.connect(f"127.0.0.1:{port}", retry=False) as channel:
        known = bearer(SIGNER.issue("1", "li", ["viewer"]))
        closed = "UNAUTHENTICATED"
        assert await health_code(channel) == ("OK" if "health" in opened else closed)
        assert await health_code(channel, **known) == "OK"
        assert await reflection_code(channel, {}) == ("OK" if "reflection" in opened else closed)
        assert await reflection_code(channel, known) == "OK"
    await server.stop()


# ---------------------------------------------------------------- who did it
class Audits(audit_service_pb2_grpc.AuditServiceServicer):
    """Remembers who the requests say they are from."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Caller]] = []

    async def PauseDelivery(self, request: Any, context: Any) -> Any:
        self.seen.append((request.by, callers.current_caller()))
        return audit_service_pb2.PauseDeliveryResponse()


@pytest.mark.parametrize(
    ("mode", "metadata", "by"),
    [
        ("enforce", bearer(SIGNER.issue("7", "li", ["ops"])), "li"),
        ("loopback", bearer(SIGNER.issue("7", "li", ["ops"])), "li"),
        ("enforce", {AS_SERVICE: "pay"}, "said"),
        ("loopback", {}, "said"),
    ],
)
async def test_an_operator_is_who_the_token_says_and_never_what_the_request_says(
    monkeypatch: pytest.MonkeyPatch, mode: Any, metadata: dict[str, str], by: str
) -> None:
    monkeypatch.setattr(callers, "peer_of", certificate)
    verifier = TokenVerifier(SYSTEM)
    verifier.trust("test", read_key_set(key_set([KEY.public_key()])))
    audits = Audits()

    def register(server: aio.Server) -> None:
        audit_service_pb2_grpc.add_AuditServiceServicer_to_server(audits, server)

    access = Callers(mode, verifier.caller_of)
    server = RpcServer(ProcessSettings(drain_s=1), [register], [], callers=access)
    port = await server.start()
    async with client.connect(f"127.0.0.1:{port}") as channel:
        stub: Any = audit_service_pb2_grpc.AuditServiceStub(channel)
        request = audit_service_pb2.PauseDeliveryRequest(by="said", reason="why")
        await stub.PauseDelivery(request, metadata=tuple(metadata.items()))
    await server.stop()
    ((said, caller),) = audits.seen
    assert said == by
    if metadata.get("authorization"):
        assert (caller.name, caller.id) == ("li", "7")
    elif not metadata:
        assert caller == LOCAL_OWNER


def test_every_request_with_a_field_by_is_filled_from_the_token() -> None:
    with_by = {
        f"/{service.full_name}/{method.name}"
        for service, method in METHODS
        if "by" in method.input_type.fields_by_name
    }
    filled = {
        access.path
        for service, method in METHODS
        if (access := access_of(service.full_name, method.name)).names_doer
    }
    assert with_by == filled
    assert len(filled) > 10


# ---------------------------------------------------------------- loopback
class Peer:
    """A call without certificate from some address."""

    def __init__(self, address: str, *metadata: str) -> None:
        self._address, self._metadata = address, metadata

    def peer(self) -> str:
        return self._address

    def auth_context(self) -> dict[str, Any]:
        return {}

    def invocation_metadata(self) -> Any:
        return (self._metadata,) if self._metadata else ()


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("ipv4:127.0.0.1:5", True),
        ("ipv6:%5B::1%5D:5", True),
        ("unix:/tmp/x", True),
        ("ipv4:10.0.0.1:5", False),
        ("ipv4:1.127.0.0:5", False),
        ("ipv6:%5B::1:2%5D:5", False),
        ("ipv6:%5Bfe80::1%5D:5", False),
        ("", False),
    ],
)
def test_only_who_calls_from_this_machine_is_its_owner(address: str, local: bool) -> None:
    access = Access("/x/Y", Right(frozenset({"order"})))
    by = Callers("loopback")
    peer: Any = Peer(address)
    if local:
        assert by.admit(access, "", peer) == LOCAL_OWNER
    else:
        with pytest.raises(NoCaller):
            by.admit(access, "", peer)
    with pytest.raises(NoCaller):
        Callers("enforce").admit(access, "", peer)


def test_without_a_verifier_no_token_is_believed() -> None:
    peer: Any = Peer("ipv4:127.0.0.1:5")
    with pytest.raises(NoCaller):
        Callers("loopback").admit(Access("/x/Y", NONE), "Bearer x", peer)


def test_descriptors_of_the_contract_carry_only_known_callers() -> None:
    for service, method in METHODS:
        found: Any = Default().FindServiceByName(service.full_name)
        assert right_of(found.full_name, method.name) is not NONE
