"""PayServer and careless clients: whatever they send, the documented error comes and nothing is written."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from shoudan_cli.system import System
from tests.poll import eventually
from tests.system.turned import turn

pytestmark = pytest.mark.system

SHOP = "eLzwsgnlWpZN8xtvz0qgvw"
SIGN_ACCOUNT = "382CF8DF-017F-4009-928F-D5B008095962"
MEMBER_PACKAGE = "B3A36C30-BB11-11E8-8353-CD8987EBDA9C"
WECHAT = "017AFC80-95FA-11E8-B0EC-5384BC9767FE"
ON_CREDIT = {"signAccounterUUID": "ega7hvZz0RBw8TQNFFZN2w"}
MEMBER = {"memberUUID": "LyWGmvRHlDsH4zYqvND2Gg"}
HOUR_S = 3600
ENDED_S = 60

PAY_WRONG: dict[str, tuple[dict[str, Any], int, int, str]] = {
    "amount as text": ({"payAmount": "50"}, 400, 9999, "payAmount is not valid"),
    "amount with a fraction": ({"payAmount": 50.5}, 400, 9999, "payAmount is not valid"),
    "amount true": ({"payAmount": True}, 400, 9999, "payAmount is not valid"),
    "amount zero": ({"payAmount": 0}, 400, 9999, "amount is not a whole number of fen above 0"),
    "amount beyond": ({"payAmount": 2**63}, 400, 9999, "amount is not a whole number of fen"),
    "no amount": ({"payAmount": None}, 400, 9999, "amount is not a whole number of fen above 0"),
    "number as a name": ({"payer": 5}, 400, 9999, "payer is not valid"),
    "unseen characters": ({"payer": "a\0b"}, 400, 9999, "payer has characters"),
    "no number": ({"clientPayNo": ""}, 400, 9999, "clientPayNo is missing"),
    "long number": ({"clientPayNo": "x" * 65}, 400, 9999, "clientPayNo has more than 64"),
    "params as a list": ({"payParams": [1]}, 400, 9999, "payParams is no JSON object"),
    "no customer": ({"payParams": {}}, 400, 9999, "signAccounterUUID is no text"),
    "customer by number": ({"payParams": {"signAccounterUUID": 5}}, 400, 9999, "signAccounterUUID"),
    "unknown mode": ({"payModeUUID": "nope"}, 500, 9002, "PayOrderBusiness->create payMode is not"),
    "mode by injection": ({"payModeUUID": "' OR 1=1"}, 500, 9002, "PayOrderBusiness->create"),
}
BODIES = {
    "empty": b"",
    "a literal of JavaScript": b"{payModeUUID:'a'}",
    "a list": b"[]",
    "null": b"null",
    "not UTF-8": b'{"payer":"\xff"}',
    "half a surrogate": b'{"payer":"\\ud800"}',
    "NaN": b'{"payAmount":NaN}',
    "deep": b'{"payParams":' + b"[" * 5000 + b"]" * 5000 + b"}",
}
QUERIES = (
    *("limit=0", "limit=101", "limit=abc", "limit=1e3", "offset=-1", "offset=99999999999999999999"),
    *("orderBy=nope", "orderBy=id;drop table pay_order", "orderBy=secretName", "foo=bar", "$sql=x"),
    *("payAmount=abc", "payAmount=[1,x)", "createdAt=yesterday", "expand=foo", "clientPayNo=a%00b"),
    *("id=99999999999999999999", "payer=%ff", "payer=a&payer=b"),
)
NOWHERE = ("nope", "%00", "x" * 300, "'%20OR%201=1")


@dataclass
class Client:
    """A shop's program that tries everything."""

    system: System
    http: aiohttp.ClientSession
    modes: dict[str, str]
    count: int = 0

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        url = f"{self.system.gateway_url}/api/v1.0.0/{path}"
        async with self.http.request(method, url, data=data) as answer:
            return answer.status, json.loads(await answer.text())

    async def open(self, template: str, **given: Any) -> str:
        body = {"merchantUUID": SHOP, "payTemplateId": template, "isOpened": 1, **given}
        status, mode = await self.call("POST", "payModes", body)
        assert status == 201
        return mode["uuid"]

    def wish(self, **given: Any) -> dict[str, Any]:
        self.count += 1
        made = {
            "payModeUUID": self.modes[SIGN_ACCOUNT],
            "payer": "A",
            "payee": f"http://shop.example.com/shops/{SHOP}",
            "payAmount": 50,
            "clientPayNo": f"c{time.time_ns()}-{self.count}",
            "payParams": ON_CREDIT,
        }
        return made | given

    async def paid(self, **given: Any) -> dict[str, Any]:
        status, answer = await self.call("POST", "pay", self.wish(**given))
        assert status == 200
        return answer["data"]

    async def refund(self, pay: dict[str, Any], **given: Any) -> tuple[int, Any]:
        self.count += 1
        number = f"r{time.time_ns()}-{self.count}"
        body = {"payTractionNo": pay["tractionNo"], "clientRefundNo": number, **given}
        return await self.call("POST", "refund", body)

    async def stored(self) -> int:
        async with self.system.postgres.admin("shoudan_pay") as db:
            return await db.fetchval(
                "SELECT (SELECT count(*) FROM pay_order) + (SELECT count(*) FROM refund_order)"
            )


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[Client]:
    async with System.start(profile="demo") as system, aiohttp.ClientSession() as http:
        made = Client(system, http, {})
        for template in (SIGN_ACCOUNT, MEMBER_PACKAGE, WECHAT):
            made.modes[template] = await made.open(template)
        yield made


def is_error(answer: tuple[int, Any], status: int, code: int, start: str) -> None:
    found, body = answer
    assert list(body) == ["name", "statusCode", "code", "message", "description", "stack"]
    assert (found, body["statusCode"], body["code"], body["stack"]) == (status, status, code, "")
    assert body["message"].startswith(start)
    assert body["description"] == body["message"]


@pytest.mark.parametrize("name", PAY_WRONG)
async def test_a_wrong_pay_is_refused_and_nothing_is_stored(client: Client, name: str) -> None:
    changed, *expected = PAY_WRONG[name]
    before = await client.stored()
    is_error(await client.call("POST", "pay", client.wish(**changed)), *expected)
    assert await client.stored() == before


async def test_what_is_no_pay_at_all_is_refused(client: Client) -> None:
    before = await client.stored()
    for body in BODIES.values():
        is_error(await client.call("POST", "pay", body), 400, 9999, "")
    assert await client.stored() == before


async def test_uses_of_a_package_must_be_told_rightly(client: Client) -> None:
    for details in (None, [], [1], [{"merchandiseUUID": "merchandiseUUID-A", "count": "1"}]):
        params = MEMBER | {"merchandiseDetails": details}
        wish = client.wish(payModeUUID=client.modes[MEMBER_PACKAGE], payParams=params)
        is_error(await client.call("POST", "pay", wish), 400, 9999, "")


@pytest.mark.parametrize("query", QUERIES)
async def test_a_list_nobody_can_make_is_refused(client: Client, query: str) -> None:
    is_error(await client.call("GET", f"payOrders?{query}"), 400, 9999, "")


@pytest.mark.parametrize("uuid", NOWHERE)
async def test_what_does_not_exist_is_told_so(client: Client, uuid: str) -> None:
    no = (404, 1599, "Resources does not exist.")
    for name in ("payModeTemplates", "payModes", "payOrders", "refundOrders", "tradeRecords"):
        is_error(await client.call("GET", f"{name}/{uuid}"), *no)
    is_error(await client.call("GET", f"payOrders/{uuid}/refundOrders"), *no)
    is_error(await client.call("PUT", f"payModes/{uuid}", {"isOpened": 1}), *no)
    is_error(await client.call("POST", "payNotify", {"tractionNo": "a\0", "ret": "success"}), *no)


async def test_a_closed_mode_cannot_be_paid_by(client: Client) -> None:
    closed = await client.open(SIGN_ACCOUNT, isOpened=0)
    wish = client.wish(payModeUUID=closed)
    is_error(await client.call("POST", "pay", wish), 500, 9002, "PayOrderBusiness->create payMode")


async def test_only_what_is_left_is_given_back(client: Client) -> None:
    pay = await client.paid()
    exceeds = (500, 9999, "RefundOrderBusiness->create refundAmount exceed payAmount!!!!")
    is_error(await client.refund(pay, refundAmount=51), *exceeds)
    assert (await client.refund(pay, refundAmount=20))[0] == 200
    is_error(await client.refund(pay, refundAmount=31), *exceeds)
    is_error(await client.refund(pay, refundAmount=0), 400, 9999, "amount is not a whole number")
    is_error(await client.refund(pay, refundAmount="5"), 400, 9999, "refundAmount is not valid")
    is_error(await client.refund(pay, isCancel=2), 400, 9999, "isCancel is not valid")
    unknown = {"tractionNo": "1000000000000000"}
    is_error(
        await client.refund(unknown), 500, 9999, "RefundOrderBusiness->create payOrder not has"
    )
    status, rest = await client.refund(pay)
    assert (status, rest["data"]["refundAmount"]) == (200, 30)


async def test_time_ends_what_may_be_cancelled_and_what_may_be_paid(client: Client) -> None:
    first, second = await client.paid(), await client.paid()
    by_code = {"payModeUUID": client.modes[WECHAT], "payParams": {"payBarCode": "134001006"}}
    endless = await client.paid(**by_code)
    assert endless["status"] == "paying"
    await turn(client.system, 8 * HOUR_S - 600, ("pay",))
    assert (await client.refund(first, isCancel=1))[0] == 200
    await turn(client.system, 8 * HOUR_S + 60, ("pay",))
    late = "RefundOrderBusiness->create payOrder has exceed cancel limit time"
    is_error(await client.refund(second, isCancel=1), 500, 9999, late)
    assert (await client.refund(second))[0] == 200
    await turn(client.system, 25 * HOUR_S, ("pay",))

    async def expired() -> bool:
        status, page = await client.call("GET", f"payOrders?tractionNo={endless['tractionNo']}")
        if status == 503:  # turning the clock cut its connection
            return False
        (pay,) = page["items"]
        return (pay["status"], pay["resultCode"]) == ("payFailed", "expired")

    await eventually(expired, ENDED_S, every_s=0.5)
    status = (
        "RefundOrderBusiness->create payOrder status is invalid!!! payOrderObj.status:payFailed"
    )
    is_error(await client.refund(endless), 500, 9999, status)
