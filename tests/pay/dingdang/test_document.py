"""Dingdang's names and lengths, as 004 has them."""

from __future__ import annotations

from typing import Any

import pytest

from shoudan.pay.v1 import platform_service_pb2 as pb
from shoudan_pay.dingdang.protocol import DingdangAnswer
from shoudan_pay.payserver.store.modes import Mode
from tests.pay.payserver.harness import by_code, number
from tests.pay.platforms.harness import DOMAIN, PlatformsHarness


@pytest.fixture
async def platform(harness: PlatformsHarness) -> Mode:
    """A mode of a merchant of the platform that we play."""
    mode = await harness.payserver.component_mode()
    await harness.domain(pb.ROLE_PLATFORM, mode.merchant_uuid)
    return mode


async def pays(platform: Mode, harness: PlatformsHarness, trade_no: str) -> dict[str, Any]:
    """A user pays the order at the platform."""
    wish = by_code(platform, "0000", clientPayNo=trade_no, payAmount=100)
    _, answer = await harness.payserver.post("pay", wish)
    return dict(answer["data"])


async def asked(harness: PlatformsHarness, path: str, **given: Any) -> tuple[int, Any]:
    return await harness.skill(f"/paycgi/{path}", given)


async def notices(harness: PlatformsHarness, traction_no: str) -> list[Any]:
    return await harness.payserver.sql(
        "SELECT kind FROM dingdang_notice WHERE traction_no = :number", number=traction_no
    )


async def test_a_domain_under_two_names_that_differ_is_refused(
    platform: Mode, harness: PlatformsHarness
) -> None:
    paid = await pays(platform, harness, number("t"))
    both = {"skillId": DOMAIN, "tradeNo": paid["clientPayNo"]}
    assert (await asked(harness, "orderquery", **both))[1]["retCode"] == "SUCCESS"
    _, answer = await asked(harness, "orderquery", **both | {"skillId": "another"})
    assert answer == {"retCode": "FAIL", "retMsg": "参数错误:domainId"}


def test_an_answer_may_name_the_domain_by_its_later_name() -> None:
    expected = {"domainId": DOMAIN, "tradeNo": "t"}
    assert DingdangAnswer(True, members={"skillId": DOMAIN, "tradeNo": "t"}).same(expected)
    assert not DingdangAnswer(True, members={"skillId": "another", "tradeNo": "t"}).same(expected)
    both = {"domainId": "another", "skillId": DOMAIN, "tradeNo": "t"}
    assert not DingdangAnswer(True, members=both).same(expected)


@pytest.mark.parametrize(
    ("name", "most"), [("tradeNo", 32), ("refundTradeNo", 32), ("refundDesc", 64), ("nonceStr", 32)]
)
async def test_what_is_longer_than_documented_is_refused(
    platform: Mode, harness: PlatformsHarness, name: str, most: int
) -> None:
    paid = await pays(platform, harness, number("t").rjust(32, "x"))
    good: dict[str, Any] = {
        "tradeNo": paid["clientPayNo"],
        "refundTradeNo": number("r").rjust(32, "x"),
        "refundDesc": "退" * 64,
        "nonceStr": number("n").rjust(32, "x"),
        "totalAmt": 100,
        "refundAmt": 40,
    }
    _, answer = await asked(harness, "refund", **good | {name: "y" * (most + 1)})
    assert answer == {"retCode": "FAIL", "retMsg": f"参数错误:{name}"}
    good["nonceStr"] = number("n").rjust(32, "x")
    assert (await asked(harness, "refund", **good))[1]["retCode"] == "SUCCESS"


async def test_a_number_this_protocol_cannot_carry_is_neither_found_nor_told(
    platform: Mode, harness: PlatformsHarness
) -> None:
    long = await pays(platform, harness, number("t").rjust(33, "x"))
    short = await pays(platform, harness, number("t").rjust(32, "x"))
    assert await notices(harness, long["tractionNo"]) == []
    assert await notices(harness, short["tractionNo"]) == [("paid",)]
    _, answer = await asked(harness, "orderquery", transactionId=long["tractionNo"])
    assert answer == {"retCode": "FAIL", "retMsg": "订单不存在"}
