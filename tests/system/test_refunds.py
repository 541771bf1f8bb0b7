"""Refunds over HTTP: every documented refusal in its words, repeats, and never more than was delivered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.poll import eventually

pytestmark = pytest.mark.system

PHONE = {"line_id": "3", "carrier_no": "YD", "face": "50", "amount": "49.5"}
SPLIT = {"face": "1000", "amount": "990"}
NOBODYS = {"line_id": "3", "carrier_no": "LT", "face": "30", "amount": "29.7"}
NO_ORDER = {"channel_no": "test", "request_no": "nope"}

# path | the order | refund_num | code | words. Source: 000 §四.3.5, 4.5; codes of oms-behaviour §3.7.
REFUSED = {
    "general_unknown": ("/refund/general", None, 1, 990, "订单不存在或配置错误"),
    "general_not_ended": ("/refund/general", NOBODYS, 1, 990, "订单未成功，暂时无法退款"),
    "general_split": ("/refund/general", SPLIT, 2, 981, "当前订单不支持部分退款"),
    "general_not_refundable": ("/refund/general", PHONE, 1, 980, "不支持退款"),
    "general_too_many": ("/refund/general", {}, 2, 982, "退款数量错误"),
    "mandatory_unknown": ("/refund/mandatory", None, 1, 990, "订单不存在"),
    "mandatory_not_ended": ("/refund/mandatory", NOBODYS, 1, 990, "订单未成功，暂时无法退款"),
    "mandatory_split": ("/refund/mandatory", SPLIT, 2, 981, "当前订单不支持部分退款"),
}


async def ordered(partner: Any, **changed: Any) -> str:
    """A request_no; its order is delivered, unless nobody supplies it."""
    number = partner.number()
    status, body = await partner.order(request_no=number, **changed)
    assert status == 200, body
    if changed != NOBODYS:
        await partner.all_ended(number, 1)
    return number


async def refund(partner: Any, path: str, number: str, no: str, num: int = 1) -> tuple[int, Any]:
    inbox = f"{partner.system.sandbox_url}/inbox/refund"
    return await partner.get(
        path, channel_no="test", request_no=number, refund_no=no, refund_num=num, notify_url=inbox
    )


async def count(partner: Any, number: str) -> int:
    query = "SELECT count(*) FROM oms_refund_info WHERE request_no = $1"
    return await partner.sql("order", query, number)


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refused_refund_is_worded_as_documented_and_not_written(partner, name) -> None:
    path, order, num, code, words = REFUSED[name]
    number = "nope" if order is None else await ordered(partner, **order)
    status, body = await refund(partner, path, number, f"r{partner.number()}", num)
    assert (status, body["code"], body["message"]) == (400, code, words)
    assert await count(partner, number) == 0


async def test_an_unknown_refund_is_not_found_in_the_documented_words(partner) -> None:
    status, body = await partner.get("/refund/query", **NO_ORDER, refund_no="nope")
    assert (status, body["message"]) == (400, "查询的数据不存在")


@pytest.mark.parametrize("path", ["/refund/general", "/refund/mandatory"])
async def test_the_same_number_is_the_same_refund_and_with_another_content_refused(
    partner, path
) -> None:
    number, no = await ordered(partner, num="2", amount="396"), f"r{partner.number()}"
    answers = await asyncio.gather(*(refund(partner, path, number, no) for _ in range(10)))
    assert {status for status, _ in answers} == {200}
    assert len({body["refund_id"] for _, body in answers}) == 1
    status, body = await refund(partner, path, number, no, 2)
    assert (status, body["code"]) == (409, 409)
    assert await count(partner, number) == 1


@pytest.mark.parametrize("kinds", [("general",), ("mandatory",), ("general", "mandatory")])
async def test_concurrent_refunds_never_exceed_what_was_delivered(partner, kinds) -> None:
    number = await ordered(partner, num="5", amount="990")
    answers = await asyncio.gather(
        *(
            refund(partner, f"/refund/{kinds[at % len(kinds)]}", number, f"r{partner.number()}")
            for at in range(20)
        )
    )
    taken = [body for status, body in answers if status == 200]
    refused = {body["code"] for status, body in answers if status != 200}
    assert 1 <= len(taken) <= 5
    assert refused <= {982, 983, 990}
    assert await count(partner, number) == len(taken)

    async def over() -> bool:
        left = await partner.sql(
            "order",
            "SELECT count(*) FROM oms_refund_info WHERE request_no = $1 AND refund_status <> 0",
            number,
        )
        return left == 0

    await eventually(over, 30, every_s=0.05)
    left = await partner.sql(
        "order",
        "SELECT success_face_micros / face_micros FROM oms_order_info WHERE request_no = $1",
        number,
    )
    assert left == 5 - len(taken)
    await partner.ledger_is_whole()
