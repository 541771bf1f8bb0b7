"""Promises about the internal listener: every route as every caller, and a channel's own account."""

from __future__ import annotations

import asyncio
import ssl
import time
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from shoudan.order.v1 import catalogue_service_pb2 as catalogue
from shoudan_gateway import partners
from shoudan_gateway.app import SERVICE as GATEWAY
from shoudan_gateway.app import ports
from shoudan_gateway.config import GatewaySettings
from shoudan_gateway.internal_access import InternalAccess, right_for
from shoudan_gateway.protocol import GatewayError, Inbound, Problem
from shoudan_kit.config import Secret
from shoudan_kit.rpc.rights import ROLES
from shoudan_kit.secrets.tokens import TokenSigner, key_set
from shoudan_kit.service import Process
from shoudan_kit.tls.authority import Authority
from shoudan_kit.tls.names import server_name
from shoudan_pay.app import SERVICE as PAY
from shoudan_pay.config import PaySettings
from shoudan_signing import channel as signing
from tests.credentials import files_of, tls_of
from tests.poll import eventually

SYSTEM: Final = "here"
KEY: Final = Ed25519PrivateKey.generate()
SIGNER: Final = TokenSigner(KEY, SYSTEM)
SECRET: Final = "channel-secret-of-test"
ROUTES: Final = [
    (method, endpoint)
    for partner in partners.load().values()
    if partner.role == "internal"
    for endpoint in partner.endpoints
    for method in sorted(endpoint.methods - {"HEAD"})
]
MISSING: Final = (401, "缺少身份令牌")
WRONG: Final = (401, "身份令牌无效")
REFUSED: Final = (403, "没有权限")


@pytest.fixture
async def guarded(open_gateway: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A gateway that enforces callers, with a channel that signs."""
    monkeypatch.setenv("SHOUDAN_SECRET_CHANNEL_TEST", SECRET)
    keys = tmp_path / "keys.json"
    keys.write_bytes(key_set([KEY.public_key()]))
    front = await open_gateway(callers="enforce", system_id=SYSTEM, token_keys=[str(keys)])
    front.order.channels = [
        catalogue.DownChannel(
            channel_no="test", enabled=True, auth_mode="hmac2", secret_name="channel-test"
        ),
        catalogue.DownChannel(channel_no="open", enabled=True),
    ]
    await front.read_rules()
    return front


async def answer_of(
    front: Any, path: str, method: str = "GET", token: str | None = None, **params: str
) -> tuple[int, str]:
    """Status and, of a refusal, its text in the documented shape."""
    headers = {} if token is None else {"Authorization": token}
    url = front.internal_url + path
    async with front.http.request(method, url, headers=headers, params=params) as answer:
        body = await answer.json()
        if isinstance(body, dict) and "message" in body:
            assert body["data"] == f"error:{body['message']}"
            return answer.status, body["message"]
        return answer.status, ""


def bearer(*roles: str) -> str:
    return f"Bearer {SIGNER.issue('1', 'li', roles)}"


async def test_every_route_is_closed_to_who_shows_no_right(guarded: Any) -> None:
    assert len(ROUTES) > 30
    other = TokenSigner(Ed25519PrivateKey.generate(), SYSTEM).issue("1", "li", ROLES)
    there = TokenSigner(KEY, "there").issue("1", "li", ROLES)
    for method, endpoint in ROUTES:
        path = endpoint.path
        assert await answer_of(guarded, path, method) == MISSING, path
        for token in (
            "Bearer ",
            "Bearer a.b.c",
            "Basic bGk6",
            f"Bearer {other}",
            f"Bearer {there}",
        ):
            assert await answer_of(guarded, path, method, token) == WRONG, path
        assert await answer_of(guarded, path, method, bearer()) == REFUSED, path


@pytest.mark.parametrize("role", ROLES)
async def test_every_route_asks_for_the_right_of_the_rpc_behind_it(guarded: Any, role: str) -> None:
    for method, endpoint in ROUTES:
        status, text = await answer_of(guarded, endpoint.path, method, bearer(role))
        if role in right_for(endpoint).roles:
            assert status not in {401, 403}, endpoint.path
        else:
            assert (status, text) == REFUSED, endpoint.path


def test_what_moves_money_over_http_is_for_finance_alone() -> None:
    moving = [endpoint for _, endpoint in ROUTES if endpoint.writes]
    assert len(moving) > 5
    for endpoint in moving:
        assert right_for(endpoint).roles == {"finance-maker"}, endpoint.path


# ---------------------------------------------------------------- a channel's own account
def signed(path: str, channel: str = "test", **params: str) -> dict[str, str]:
    whole = {
        "channel_no": channel,
        "sign_type": signing.HMAC_SHA256_V2,
        "timestamp": str(int(time.time())),
        "nonce": f"nonce-of-16-chars-{time.monotonic_ns()}",
        **params,
    }
    sign = signing.hmac_v2_sign("GET", path, whole, b"", SECRET.encode())
    return whole | {"sign": sign}


async def test_a_channel_reads_its_own_account_with_its_own_signature(guarded: Any) -> None:
    path = "/account/query"
    own = {"ident": "oms", "groups": "down_channel", "eid": "test"}
    assert (await answer_of(guarded, path, **signed(path, **own)))[0] == 200
    for other in ({"eid": "ycdown"}, {"ident": "erp"}, {"groups": "up_channel"}, {"groups": "-"}):
        assert await answer_of(guarded, path, **signed(path, **(own | other))) == REFUSED, other
    forged = signed(path, **own) | {"eid": "ycdown"}
    assert await answer_of(guarded, path, **forged) == (403, "签名错误")


async def test_a_channels_signature_changes_nothing_and_lists_nobody(guarded: Any) -> None:
    own = {
        "ident": "oms",
        "groups": "down_channel",
        "eid": "test",
        "trade_no": "1",
        "amount": "1",
        "account_name": "x",
    }
    for path in ("/account/balance/add", "/account/create", "/account/update", "/dds/province/get"):
        assert await answer_of(guarded, path, **signed(path, **own)) == REFUSED, path


async def test_who_is_no_channel_or_signs_nothing_is_not_let_in(guarded: Any) -> None:
    path = "/account/query"
    own = {"ident": "oms", "groups": "down_channel"}
    unknown = signed(path, "nobody", **own, eid="nobody")
    assert await answer_of(guarded, path, **unknown) == REFUSED
    unsigned = {"channel_no": "open", "eid": "open", **own}
    assert await answer_of(guarded, path, **unsigned) == MISSING
    keyless = signed(path, "open", **own, eid="open")
    assert (await answer_of(guarded, path, **keyless))[0] == 403


# ---------------------------------------------------------------- loopback
def admitted(remote: str, mode: Any) -> GatewayError | None:
    unused: Any = None
    access = InternalAccess(unused, unused, mode, "oms")
    try:
        access.admit(Inbound("GET", "/account/query", remote=remote), ROUTES[0][1])
    except Problem as problem:
        return problem.error
    return None


@pytest.mark.parametrize(
    ("remote", "mode", "let_in"),
    [
        ("127.0.0.1", "loopback", True),
        ("::1", "loopback", True),
        ("10.0.0.1", "loopback", False),
        ("", "loopback", False),
        ("127.0.0.1", "enforce", False),
    ],
)
def test_without_a_token_only_this_machine_is_let_in_and_only_in_loopback(
    remote: str, mode: str, let_in: bool
) -> None:
    assert admitted(remote, mode) == (None if let_in else GatewayError.TOKEN_MISSING)


@pytest.mark.parametrize("host", [str(IPv4Address(0)), "10.0.0.7", "::", "gateway.internal"])
def test_in_prod_the_internal_listener_is_reached_from_this_machine_alone(host: str) -> None:
    def mistakes(profile: str, host: str) -> list[str]:
        made = GatewaySettings.model_construct(profile=profile, internal_host=host)
        return [one for one in made.cross_check() if one.startswith("internal_host")]

    assert mistakes("prod", host) == [
        f"internal_host: {host} is reached from outside, and has no TLS"
    ]
    assert len(mistakes("test", host)) == 1  # a profile without secrets leaves no machine at all
    assert mistakes("prod", "127.0.0.1") == mistakes("prod", "::1") == []
    with_tls = GatewaySettings.model_construct(
        profile="prod", internal_host=host, internal_tls=True
    )
    mistaken = [one for one in with_tls.cross_check() if one.startswith("internal")]
    assert mistaken == ["internal_tls: needs tls_cert, tls_key and tls_ca"]


async def test_the_internal_listener_speaks_tls_with_the_newest_certificate(tmp_path: Path) -> None:
    authority = Authority.init(tmp_path / "pki")
    authority.issue("gateway")
    keys = tmp_path / "keys.json"
    keys.write_bytes(key_set([KEY.public_key()]))
    given: dict[str, Any] = {"profile": "test", "listen_port": 0, "internal_port": 0, "drain_s": 1}
    known = {"callers": "enforce", "system_id": SYSTEM, "token_keys": [str(keys)]}
    settings = GatewaySettings(internal_tls=True, **given, **known, **tls_of(authority, "gateway"))
    process: Process[GatewaySettings] = Process(GATEWAY, settings)
    await process.start()
    _, port = ports(process.running)
    trusted = ssl.create_default_context(cafile=str(files_of(authority, "gateway").ca))
    name = server_name("gateway")

    async def serial(context: ssl.SSLContext = trusted) -> str:
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname=name
        )
        shown = writer.get_extra_info("peercert")["serialNumber"]
        writer.close()
        return shown

    try:
        first = await serial()
        async with aiohttp.ClientSession() as http:
            url = f"https://127.0.0.1:{port}/account/query"
            async with http.get(url, ssl=trusted, server_hostname=name) as answer:
                assert answer.status == MISSING[0]
            with pytest.raises(aiohttp.ClientError):
                await http.get(url.replace("https", "http"))
        older = ssl.create_default_context(cafile=str(files_of(authority, "gateway").ca))
        older.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await serial(older)
        authority.issue("gateway")

        async def renewed() -> bool:
            return await serial() != first

        await eventually(renewed, 20)
    finally:
        await process.stop()


ROWS = "SELECT action, caller_kind, caller_ref, address, before, after FROM audit_log ORDER BY id"


async def test_a_person_moves_no_money_alone_and_leaves_a_row_by_http_too(
    open_gateway: Any, new_database: Any, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.json"
    keys.write_bytes(key_set([KEY.public_key()]))
    given: dict[str, Any] = {"system_id": SYSTEM, "token_keys": [str(keys)]}
    settings = PaySettings(
        profile="test",
        database_url=Secret((await new_database("pay")).service),
        drain_s=2,
        two_persons="on",
        **given,
    )
    pay: Process[PaySettings] = Process(PAY, settings)
    await pay.start()
    front = await open_gateway(callers="enforce", pay_target=f"127.0.0.1:{pay.port}", **given)
    maker = bearer("finance-maker")
    of = {"ident": "oms", "groups": "down_channel", "eid": "h1"}

    async def post(path: str, **params: str) -> tuple[int, str]:
        return await answer_of(front, path, "POST", maker, **of, **params)

    try:
        assert (await post("/account/create", account_name="one"))[0] == 200
        two = (403, "须由两人完成，请提案后由另一人审批")
        assert await post("/account/balance/add", trade_no="t1", amount="100") == two
        assert await post("/account/balance/setcredit", credit="100") == two
        query = await answer_of(front, "/account/query", "GET", maker, **of)
        assert query == (200, "")
        # In loopback mode this machine is let in without a token, and named as such.
        here = await open_gateway(pay_target=f"127.0.0.1:{pay.port}")
        moved = await answer_of(
            here, "/account/balance/add", "POST", **of, trade_no="t2", amount="1"
        )
        assert moved == (200, "")
        async with pay.app.db.connect() as db:
            assert (await db.execute(text("SELECT count(*) FROM account_record"))).scalar_one() == 1
            rows = [tuple(row) for row in await db.execute(text(ROWS))]
        assert [row[:4] for row in rows] == [
            ("LedgerService/CreateAccounts", "operator", "1", "127.0.0.1"),
            ("LedgerService/PostEntries", "local", "", "127.0.0.1"),
        ]
    finally:
        await pay.stop()
