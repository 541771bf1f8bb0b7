"""Promises of amounts platforms tell: another one than was asked is never booked, and waits for a person."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from shoudan.pay.v1 import platform_service_pb2 as pb
from shoudan_fakes.chinaums import Script
from tests.pay.chinaums.test_refunds import form, notify, row
from tests.pay.payserver.harness import body, number
from tests.pay.platforms.harness import MID, TID, PlatformsHarness
from tests.poll import eventually

LINKS = {"pay_url": "dingdang:", "refund_url": "dingdang:", "query_url": "dingdang:"}


async def parked(harness: PlatformsHarness, table: str, traction: str) -> str:
    """Why it waits for a person, once it does; nothing of it is booked."""

    async def reason() -> str:
        await harness.payserver.sql(
            "UPDATE task SET next_execute_time = now() WHERE status = 20 RETURNING 1"
        )
        rows = await harness.payserver.sql(
            f"SELECT parked_reason, status FROM {table} WHERE traction_no = :n AND parked",
            n=traction,
        )
        assert not rows or rows[0][1] in {"paying", "refunding"}
        return str(rows[0][0]) if rows else ""

    await eventually(reason, 15, every_s=0.1)
    return await reason()


@pytest.mark.parametrize("how", ["query", "notify"])
async def test_a_ums_pay_told_with_another_amount_waits_for_a_person(
    harness: PlatformsHarness, how: str
) -> None:
    mode = await harness.union_pay()
    await harness.app(mode.merchant_uuid)
    asked = body(mode, payParams={"payBarCode": "134853566181201006"})
    _, paid = await harness.payserver.post("pay", asked)
    traction = str(paid["data"]["tractionNo"])
    if how == "query":
        harness.ums.pays[traction] = ("TRADE_SUCCESS", 49)
    else:
        params = {"mid": MID, "tid": TID, "status": "TRADE_SUCCESS", "merOrderId": traction}
        for _ in range(2):
            await notify(harness, form(params | {"totalAmount": "49"}))
    assert (
        await parked(harness, "pay_order", traction)
        == "was told totalAmount 49 分 for 50 分: not booked"
    )


@pytest.mark.parametrize("how", ["answer", "query", "notify"])
async def test_a_ums_refund_of_another_amount_waits_for_a_person(
    harness: PlatformsHarness, how: str
) -> None:
    mode = await harness.union_pay()
    await harness.app(mode.merchant_uuid)
    pay = await harness.paid(mode, payAmount=100)
    harness.ums.other_fen = "" if how == "notify" else how
    harness.ums.script = Script(questions=0 if how == "answer" else 4)
    refund = await harness.refund(pay)
    harness.ums.script = Script()
    number_, mer_order_id, *_ = await row(harness, refund)
    if how == "notify":
        params = {"mid": MID, "tid": TID, "status": "TRADE_REFUND", "refundAmount": "99"}
        ids = {"merOrderId": mer_order_id, "refundOrderId": number_}
        await notify(harness, form(params | ids))
    why = await parked(harness, "refund_order", refund["tractionNo"])
    harness.ums.other_fen = ""
    assert why == "was told refundAmount 99 分 for 100 分: not booked"


async def dingdang_pay(
    harness: PlatformsHarness, url: str = "http://127.0.0.1:1"
) -> tuple[Any, str]:
    """A pay at a platform; by default one that is never reached, so that only its notices tell."""
    mode = await harness.payserver.mode(None, name="叮当", **LINKS)
    await harness.domain(pb.ROLE_PARTNER, mode.merchant_uuid, base_url=url)
    _, paid = await harness.payserver.post("pay", body(mode))
    return mode, str(paid["data"]["tractionNo"])


async def test_a_dingdang_notice_of_another_amount_is_refused_and_waits_for_a_person(
    harness: PlatformsHarness,
) -> None:
    _, traction = await dingdang_pay(harness)
    members = {"transactionId": number("DD"), "tradeNo": traction, "totalAmt": 49}
    for _ in range(2):
        answer = (await harness.skill("/dingdang/pay/notify", members))[1]
        assert answer["retCode"] == "FAIL"
    assert (
        await parked(harness, "pay_order", traction)
        == "was told totalAmt 49 分 for 50 分: not booked"
    )


async def test_a_dingdang_refund_notice_of_another_amount_waits_for_a_person(
    harness: PlatformsHarness,
) -> None:
    _, traction = await dingdang_pay(harness)
    transaction = number("DD")
    members = {"transactionId": transaction, "tradeNo": traction, "totalAmt": 50}
    assert (await harness.skill("/dingdang/pay/notify", members))[1]["retCode"] == "SUCCESS"
    refund = await harness.refund({"tractionNo": traction})
    told = {
        **members,
        "refundTransactionId": number("DR"),
        "refundTradeNo": refund["tractionNo"],
        "refundAmt": 49,
        "refundStatus": "SUCCESS",
    }
    assert (await harness.skill("/dingdang/refund/notify", told))[1]["retCode"] == "FAIL"
    why = await parked(harness, "refund_order", refund["tractionNo"])
    assert why == "was told refundAmt 49 分 for 50 分: not booked"


@dataclass
class Platform:
    """A platform that gives back what it was asked, with what a test changes of it."""

    told: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    url: str = ""

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        told = self.told.get(http.path)
        if told is None:
            return web.Response(status=503)
        return web.json_response(await http.json() | {"retCode": "SUCCESS"} | told)


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    made = Platform()
    runner = web.ServerRunner(web.Server(made.handle, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.mark.parametrize("amount", [49, "50", None])
async def test_a_dingdang_query_with_another_amount_waits_for_a_person(
    harness: PlatformsHarness, platform: Platform, amount: Any
) -> None:
    told = {"tradeStatus": "SUCCESS", "transactionId": number("DD"), "totalAmt": amount}
    platform.told["/orderquery"] = told
    _, traction = await dingdang_pay(harness, platform.url)
    shown = f"{amount} 分" if amount == 49 else "that is none"
    wanted = f"was told totalAmt {shown} for 50 分: not booked"
    assert await parked(harness, "pay_order", traction) == wanted


@pytest.mark.parametrize("how", ["/refund", "/refundquery"])
@pytest.mark.parametrize("amount", [51, None])
async def test_a_dingdang_refund_answered_with_another_amount_waits_for_a_person(
    harness: PlatformsHarness, platform: Platform, how: str, amount: Any
) -> None:
    _, traction = await dingdang_pay(harness, platform.url)
    members = {"transactionId": number("DD"), "tradeNo": traction, "totalAmt": 50}
    assert (await harness.skill("/dingdang/pay/notify", members))[1]["retCode"] == "SUCCESS"
    answer = {"refundTransactionId": number("DR"), "refundAmt": 50}
    ended = {"tradeNo": traction, "refundStatus": "SUCCESS"}
    platform.told["/refund"] = answer
    platform.told[how] = answer | ended | {"refundAmt": amount}
    refund = await harness.refund({"tractionNo": traction})
    shown = f"{amount} 分" if amount else "that is none"
    wanted = f"was told refundAmt {shown} for 50 分: not booked"
    assert await parked(harness, "refund_order", refund["tractionNo"]) == wanted
