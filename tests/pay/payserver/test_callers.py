"""Promises about callers: tokens forged in many ways, merchants kept apart, lists that cannot be bent."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from grpc import aio

from shoudan.pay.v1 import payment_service_pb2 as pb
from shoudan.pay.v1.payment_service_pb2_grpc import PaymentServiceStub
from shoudan_gateway.app import ports
from shoudan_gateway.commands import JWKS_FILE, KEY_FILE, issued
from shoudan_kit.rpc.refusal import refused_from_rpc
from shoudan_pay.payserver.numbers import new_uuid
from tests.pay.payserver.harness import PayserverHarness, body, gateway, number, on_account
from tests.poll import eventually
from tests.stored import Stored

encode = jwt.encode
MERCHANT = "eLzwsgnlWpZN8xtvz0qgvw"
OTHER = "mI2NDMoQRdnKCq01hAsLwQ"
KEYS = ["name", "statusCode", "code", "message", "description", "stack"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the key pair `shoudan token issue` made."""
    folder = tmp_path_factory.mktemp("keys")
    issued(folder, MERCHANT, "", "merchant", timedelta(hours=1))
    return folder


@pytest.fixture(scope="module")
async def guarded(harness: PayserverHarness, keys: Path) -> AsyncIterator[PayserverHarness]:
    """The same shop behind a gateway that is no demo."""
    target = f"127.0.0.1:{harness.pay.port}"
    door = gateway(target, profile="test", payserver_jwks_file=keys / JWKS_FILE)
    await door.start()
    url = f"http://127.0.0.1:{ports(door.running)[0]}"
    yield PayserverHarness(
        harness.pay, url, harness.http, harness.component, harness.ledger, harness.owner
    )
    await door.stop()


def good(keys: Path, merchant: str = MERCHANT, role: str = "merchant") -> str:
    return issued(keys, merchant, "", role, timedelta(hours=1))


async def ask(
    harness: PayserverHarness, path: str, token: str, method: str = "GET", wish: Any = None
) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    data = None if wish is None else json.dumps(wish)
    url = f"{harness.url}/api/v1.0.0/{path}"
    async with harness.http.request(method, url, headers=headers, data=data) as answer:
        return answer.status, await answer.json()


def test_the_issued_key_is_for_its_owner_alone(keys: Path) -> None:
    assert (keys / KEY_FILE).stat().st_mode & 0o777 == 0o600


async def test_without_a_token_only_the_demo_profile_lets_loopback_in(
    harness: PayserverHarness, guarded: PayserverHarness
) -> None:
    status, no = await ask(guarded, "payOrders", "")
    assert (status, list(no), no["name"], no["code"]) == (401, KEYS, "no token", 9999)
    assert (await ask(harness, "payOrders", ""))[0] == 200
    # The merchant must then be named.
    assert (await ask(harness, "payModes", ""))[0] == 400
    assert (await ask(harness, "listAllPayModes", ""))[0] == 400
    # And a wrong token is wrong even there.
    assert (await ask(harness, "payOrders", "x.y.z"))[0] == 401


async def test_a_good_token_comes_in_by_header_or_query_and_is_not_echoed(
    guarded: PayserverHarness, keys: Path
) -> None:
    token = good(keys)
    assert (await ask(guarded, "payOrders", token))[0] == 200
    status, listed = await ask(guarded, f"payOrders?token={token}&limit=5", "")
    assert status == 200
    assert token not in str(listed)
    assert listed["href"].endswith("/api/v1.0.0/payOrders?limit=5")


def b64(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def claims(**given: Any) -> dict[str, Any]:
    now = int(time.time())
    made = {
        "iss": "shoudan",
        "aud": "payserver",
        "iat": now,
        "exp": now + 600,
        "role": "merchant",
        "merchant": {"uuid": MERCHANT},
    }
    return {k: v for k, v in {**made, **given}.items() if v is not None}


def signed(keys: Path, headers: dict[str, Any] | None = None, **given: Any) -> str:
    pem = (keys / KEY_FILE).read_bytes()
    return encode(
        claims(**given), pem, algorithm="RS256", headers=headers or {"kid": "development"}
    )


def strangers(keys: Path, headers: dict[str, Any] | None = None) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return encode(claims(), key, algorithm="RS256", headers=headers or {"kid": "development"})


def confused(keys: Path) -> str:
    """HS256 with the public key as its secret."""
    public = (keys / JWKS_FILE).read_bytes()
    head = f"{b64({'alg': 'HS256', 'typ': 'JWT', 'kid': 'development'})}.{b64(claims())}"
    return f"{head}.{b64(hmac.new(public, head.encode(), hashlib.sha256).digest())}"


def unsigned(alg: str) -> Callable[[Path], str]:
    return lambda _: f"{b64({'alg': alg, 'kid': 'development'})}.{b64(claims())}."


def tampered(keys: Path) -> str:
    head, _, sign = signed(keys).split(".")
    return f"{head}.{b64(claims(role='admin'))}.{sign}"


FORGED: dict[str, Callable[[Path], str]] = {
    "alg none": unsigned("none"),
    "alg None": unsigned("None"),
    "alg empty": unsigned(""),
    "HS256 with the public key": confused,
    "another's key under our kid": strangers,
    "unknown kid": lambda keys: signed(keys, {"kid": "other"}),
    "no kid": lambda keys: signed(keys, {"typ": "JWT"}),
    "kid is a path": lambda keys: signed(keys, {"kid": "../../dev/null"}),
    "own key by jku": lambda keys: strangers(
        keys, {"kid": "x", "jku": "http://127.0.0.1:1/jwks.json"}
    ),
    "own key by x5u": lambda keys: strangers(keys, {"kid": "x", "x5u": "http://127.0.0.1:1/"}),
    "expired": lambda keys: signed(keys, exp=int(time.time()) - 61),
    "not yet": lambda keys: signed(keys, nbf=int(time.time()) + 120),
    "never expires": lambda keys: signed(keys, exp=None),
    "no iat": lambda keys: signed(keys, iat=None),
    "other audience": lambda keys: signed(keys, aud="order"),
    "no audience": lambda keys: signed(keys, aud=None),
    "other issuer": lambda keys: signed(keys, iss="evil"),
    "no issuer": lambda keys: signed(keys, iss=None),
    "no merchant": lambda keys: signed(keys, merchant=None),
    "merchant is text": lambda keys: signed(keys, merchant="x"),
    "claims tampered": tampered,
    "signature cut": lambda keys: signed(keys)[:-4],
    "two dots": lambda _: "..",
    "not base64": lambda _: "a.b.c",
    "too long": lambda _: "a" * 5000,
    "other scheme": lambda _: "",
}


@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_token_is_refused(guarded: PayserverHarness, keys: Path, name: str) -> None:
    token = FORGED[name](keys)
    headers = {"Authorization": f"Bearer {token}" if token else "Basic eDp5"}
    url = f"{guarded.url}/api/v1.0.0/payOrders"
    async with guarded.http.get(url, headers=headers) as answer:
        no = await answer.json()
    assert (answer.status, list(no), no["code"], no["stack"]) == (401, KEYS, 9999, "")
    assert no["message"] == "invalid token"


async def test_the_merchant_is_the_token_s_and_no_other_s(
    guarded: PayserverHarness, keys: Path
) -> None:
    mine, others = good(keys), good(keys, OTHER)
    wish = {"payTemplateId": "382CF8DF-017F-4009-928F-D5B008095962", "isOpened": 1}
    status, made = await ask(guarded, "payModes", mine, "POST", wish)
    assert (status, made["merchantUUID"]) == (201, MERCHANT)
    _, listed = await ask(guarded, "payModes", mine)
    assert made["uuid"] in [one["uuid"] for one in listed["items"]]
    for named in (f"merchantUUID={OTHER}", f"merchantHref=http://x/shops/{OTHER}"):
        status, no = await ask(guarded, f"payModes?{named}", mine)
        assert (status, no["name"]) == (403, "forbidden")
        assert (await ask(guarded, f"listAllPayModes?{named}", mine))[0] == 403
        assert (await ask(guarded, f"payOrders?{named}", mine))[0] == 403
    foreign = wish | {"merchantUUID": OTHER}
    assert (await ask(guarded, "payModes", mine, "POST", foreign))[0] == 403
    admin = good(keys, MERCHANT, "admin")
    status, made_for = await ask(guarded, "payModes", admin, "POST", foreign)
    assert (status, made_for["merchantUUID"]) == (201, OTHER)
    # Another merchant's mode, item and change: exactly as if there were none.
    absent = await ask(guarded, "payModes/" + "x" * 22, others)
    assert (absent[0], absent[1]["code"]) == (404, 1599)
    assert await ask(guarded, f"payModes/{made['uuid']}", others) == absent
    assert await ask(guarded, f"payModes/{made['uuid']}/payOrders", others) == absent
    change = await ask(guarded, f"payModes/{made['uuid']}", others, "PUT", {"isOpened": 0})
    assert change == absent


async def test_pays_and_refunds_of_others_do_not_exist(
    guarded: PayserverHarness, keys: Path
) -> None:
    mode = await guarded.mode(merchant=MERCHANT)
    key = await guarded.account(mode, credit_fen=1000)
    mine, others = good(keys), good(keys, OTHER)
    unknown = await ask(guarded, "pay", others, "POST", body(mode) | {"payModeUUID": "x" * 22})
    stolen = await ask(guarded, "pay", others, "POST", on_account(mode, key))
    assert stolen == unknown
    assert unknown[1]["code"] == 9002
    _, paid = await ask(guarded, "pay", mine, "POST", on_account(mode, key))
    data = paid["data"]
    assert (await ask(guarded, "payOrders", others))[1]["items"] == []
    assert (await ask(guarded, f"payOrders?tractionNo={data['tractionNo']}", others))[1][
        "size"
    ] == 0
    assert (await ask(guarded, f"payOrders/{data['uuid']}", others))[0] == 404
    assert (await ask(guarded, f"payOrders/{data['uuid']}/tradeRecords", others))[0] == 404
    wish = {"payTractionNo": data["tractionNo"], "clientRefundNo": number("r")}
    status, no = await ask(guarded, "refund", others, "POST", wish)
    assert (status, "not has exist" in no["message"]) == (500, True)
    assert await guarded.balance_fen(key) == -50


async def test_templates_are_registered_by_admins_alone(
    guarded: PayserverHarness, keys: Path
) -> None:
    wish = {"payTemplateId": "T2", "name": "x"}
    path = "registerPayModeTemplate"
    assert (await ask(guarded, path, good(keys), "POST", wish))[0] == 403
    admin = good(keys, role="admin")
    assert (await ask(guarded, path, admin, "POST", wish))[0] == 200


async def test_components_need_no_token(guarded: PayserverHarness) -> None:
    told = {"tractionNo": "1000000000000000", "ret": "success"}
    assert (await ask(guarded, "payNotify?sign=x", "", "POST", told))[0] == 404


# A statement that sleeps would be ended by the database, long before its 60 s, and answered by a 5xx.
INJECTIONS = [
    "uiOrder;select pg_sleep(60)",
    "id; DROP TABLE pay_order",
    "id desc nulls last",
    "(select 1)",
    "id--",
    "1",
    "id,pg_sleep(60)",
    "content_hash",
    "contentHash asc",
    "a" * 300,
    "id asc asc",
    "id/**/desc",
]
PAYLOADS = [
    "' OR '1'='1",
    "'; SELECT pg_sleep(60); --",
    "\\'; DROP TABLE pay_order; --",
    "%' OR 1=1 --",
    "$$; SELECT pg_sleep(60) $$",
    ":n OR true",
    "1) OR (1=1",
    "\u2019 OR 1=1",
    "{{7*7}}",
    "${7*7}",
]


@pytest.mark.parametrize("text", INJECTIONS)
async def test_an_order_that_is_not_offered_is_refused_at_once(
    harness: PayserverHarness, text: str
) -> None:
    status, no = await harness.get("payOrders", orderBy=text)
    assert (status, list(no), no["stack"]) == (400, KEYS, "")


@pytest.mark.parametrize("text", PAYLOADS)
async def test_a_value_is_a_value_whatever_it_says(harness: PayserverHarness, text: str) -> None:
    for name in ("clientPayNo", "payer", "payee", "tractionNo", "status", "uuid"):
        for value in (text, f"*{text}*", f"IN({text})", f"OR({text}*,x)", f"NOTIN({text})"):
            status, listed = await harness.get("payOrders", **{name: value, "clientPayNo": value})
            assert status in {200, 400}
            if status == 200 and "NOT" not in value:
                assert listed["items"] == []


@pytest.mark.parametrize(
    "params",
    [
        {"$sql": "1=1"},
        {"contentHash": "x"},
        {"merchant_uuid": "x"},
        {"limit": "0"},
        {"limit": "101"},
        {"limit": "-1"},
        {"limit": "1e2"},
        {"limit": "١"},
        {"offset": "-1"},
        {"offset": "10000000000000000000"},
        {"expand": "payMode;secrets"},
        {"id": "x"},
        {"id": "99999999999999999999"},
        {"payAmount": "1.5"},
        {"isOpened": "2"},
        {"createdAt": "yesterday"},
        {"createdAt": "2018-13-01"},
        {"id": "*"},
        {"payer": "a\u0000b"},
        {"payer": "x" * 300},
    ],
    ids=str,
)
async def test_what_is_not_offered_is_refused(
    harness: PayserverHarness, params: dict[str, str]
) -> None:
    status, no = await harness.get("payOrders", **params)
    assert (status, list(no)) == (400, KEYS)
    assert "sql" not in no["message"].lower() or "$sql" in no["message"]


async def test_lists_filter_sort_page_and_fetch(harness: PayserverHarness) -> None:
    mode = await harness.mode()
    key = await harness.account(mode, credit_fen=10_000)
    wishes = [on_account(mode, key, payAmount=fen, payer=f"lister{fen}") for fen in (1, 2, 3, 4, 5)]
    await harness.post("batchPay", {"batchPayData": wishes})

    async def fens(**params: Any) -> list[int]:
        given = {"payModeUUID": mode.uuid, "orderBy": "payAmount asc", **params}
        return [one["payAmount"] for one in (await harness.get("payOrders", **given))[1]["items"]]

    assert await fens() == [1, 2, 3, 4, 5]
    assert await fens(orderBy="payAmount desc", limit=2) == [5, 4]
    assert await fens(offset=3) == [4, 5]
    assert await fens(payAmount="[2,4)") == [2, 3]
    assert await fens(payAmount="(2,]") == [3, 4, 5]
    assert await fens(payAmount="IN(1,5)") == [1, 5]
    assert await fens(payAmount="NOTIN(1,5)") == [2, 3, 4]
    assert await fens(payAmount="NOT(3)") == [1, 2, 4, 5]
    assert await fens(payer="lister*") == [1, 2, 3, 4, 5]
    assert await fens(payer="OR(*1,*2)") == [1, 2]
    assert await fens(payer="liste_2") == []
    assert await fens(createdAt="[2000-01-01,2000-01-02 00:00:00]") == []
    _, listed = await harness.get(f"payModes/{mode.uuid}/payOrders", expand="payMode", limit=1)
    assert (listed["limit"], listed["size"], listed["offset"]) == (1, 5, 0)
    assert listed["items"][0]["payMode"]["uuid"] == mode.uuid
    assert (await harness.get(f"payModes/{mode.uuid}/tradeRecords"))[1]["size"] == 10
    template = "zkP4nXeGS8aMfWtIu5OvJQ"
    assert (await harness.get(f"payModeTemplates/{template}/payOrders"))[1]["size"] >= 5


async def test_the_other_roots_mean_the_same(harness: PayserverHarness) -> None:
    for root in ("/api/v1", "/payServer/api/v1.0.0", "/payServer/api/v1"):
        async with harness.http.get(f"{harness.url}{root}/payModeTemplates?limit=3") as answer:
            listed = await answer.json()
        assert answer.status == 200
        assert listed["href"] == f"https://pay.example.com{root}/payModeTemplates?limit=3" or (
            listed["href"].endswith(f"{root}/payModeTemplates?limit=3")
        )
        assert "/api/v1.0.0/payModeTemplates/" in listed["items"][0]["href"]


async def test_two_that_register_one_uuid_at_once_leave_one_template(
    harness: PayserverHarness,
) -> None:
    async with aio.insecure_channel(f"127.0.0.1:{harness.pay.port}") as channel:
        stub: Any = PaymentServiceStub(channel)

        def asked(uuid: str) -> pb.RegisterTemplateRequest:
            terms = pb.Terms(name="one")
            return pb.RegisterTemplateRequest(template_id=number("tpl"), uuid=uuid, terms=terms)

        for _ in range(5):
            uuid = new_uuid()
            answers = await asyncio.gather(
                *(stub.RegisterTemplate(asked(uuid)) for _ in range(4)), return_exceptions=True
            )
            refused = [refused_from_rpc(one) for one in answers if isinstance(one, aio.AioRpcError)]
            assert len(refused) == 3
            assert {one and one.reason for one in refused} == {"ERROR_REASON_FIELD_INVALID"}


async def test_one_template_registered_by_many_at_once_is_one_for_all_of_them(
    harness: PayserverHarness,
) -> None:
    async with aio.insecure_channel(f"127.0.0.1:{harness.pay.port}") as channel:
        stub: Any = PaymentServiceStub(channel)
        for _ in range(10):
            asked = pb.RegisterTemplateRequest(
                template_id=number("tpl"), uuid=new_uuid(), terms=pb.Terms(name="one")
            )
            answers = await asyncio.gather(*(stub.RegisterTemplate(asked) for _ in range(8)))
            assert {one.template.uuid for one in answers} == {asked.uuid}
            assert len({one.template.id for one in answers}) == 1


async def test_a_stored_public_key_is_believed_within_a_second_until_it_is_revoked(
    guarded: PayserverHarness,
) -> None:
    stored = Stored(guarded.pay.port)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()
    token = encode(claims(), key, algorithm="RS256", headers={"kid": "partner-1"})

    async def status() -> int:
        return (await ask(guarded, "payOrders", token))[0]

    async def is_believed() -> bool:
        return await status() == 200

    async def is_refused() -> bool:
        return await status() == 401

    await eventually(is_refused)  # 503 until the gateway knows what is stored
    made = await stored.issue("payserver", "partner-1", pem)
    await eventually(is_believed, 1)
    await stored.revoke(made)
    await eventually(is_refused, 1)
    with pytest.raises(aio.AioRpcError):
        await stored.issue("payserver", "partner-2")  # its private half is the partner's
