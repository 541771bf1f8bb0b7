"""An order's whole life through HTTP: placed, charged, delivered, paid on, told; bad input writes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from shoudan_cli import life

pytestmark = pytest.mark.system


async def test_the_documents_example_lives_to_its_notify(partner, system) -> None:
    told: list[str] = []
    seen = await life.watch(partner.clients, system.gateway_url, system.sandbox_url, told.append)
    assert seen.answer["status"] == 30
    assert seen.query["status"] == 0
    assert seen.balance_before_micros - seen.balance_after_micros == 198_000_000
    assert {"下单", "下游支付", "发货完成", "上游支付", "下游通知"} <= {
        tag for _, tag, _ in seen.moments
    }
    assert await life.watch(partner.clients, system.gateway_url, system.sandbox_url, told.append)
    await partner.ledger_is_whole()


async def test_the_same_request_again_is_the_same_order_and_charged_once(partner) -> None:
    number = partner.number()
    _, first = await partner.order(request_no=number)
    await partner.all_ended(number, 1)
    balance = await partner.balance()
    status, again = await partner.order(request_no=number)
    assert (status, again["order_id"], again["status"]) == (200, first["order_id"], 0)
    assert await partner.balance() == balance


async def test_the_same_number_with_another_content_is_refused(partner) -> None:
    number = partner.number()
    await partner.order(request_no=number)
    status, body = await partner.order(request_no=number, amount="197")
    assert (status, body["code"]) == (409, 409)


REFUSED = {
    "missing": ({"num": ""}, 406, 406),
    "malformed": ({"face": "abc"}, 406, 406),
    "unknown_channel": ({"channel_no": "nobody"}, 400, 920),
    "disabled_channel": ({"channel_no": "closed"}, 400, 920),
    "wrong_face": ({"face": "300"}, 400, 920),
    "price": ({"amount": "150"}, 400, 921),
    "too_many": ({"num": "11", "amount": "2178"}, 400, 920),
    "line": ({"line_id": "99"}, 400, 920),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_refused_is_not_written(partner, name) -> None:
    changed, status, code = REFUSED[name]
    number = partner.number()
    got, body = await partner.order(request_no=number, **changed)
    assert (got, body["code"]) == (status, code)
    stored = await partner.sql(
        "order", "SELECT count(*) FROM oms_order_info WHERE request_no = $1", number
    )
    assert stored == 0


async def test_an_order_that_fails_at_one_supplier_is_delivered_by_the_next(
    partner, system
) -> None:
    async def turned(script: str) -> None:
        url = f"{system.sandbox_url}/supplier/knobs?channel_no=ycup"
        async with partner.http.post(url, json={"script": script}) as answer:
            assert answer.status == 200

    number = partner.number()
    await turned("0001")
    try:
        await partner.order(request_no=number)
        await partner.all_ended(number, 1)
    finally:
        await turned("")
    suppliers: Any = await partner.sql(
        "order",
        "SELECT array_agg(d.up_channel_no ORDER BY d.delivery_id) FROM oms_order_delivery d"
        " JOIN oms_order_info o USING (order_id) WHERE o.request_no = $1",
        number,
    )
    assert suppliers == ["ycup", "dearup"]
    await partner.ledger_is_whole()


async def test_a_split_order_is_delivered_in_parts(partner) -> None:
    number = partner.number()
    await partner.order(request_no=number, face="1000", amount="990")
    await partner.all_ended(number, 1)
    parts = await partner.sql(
        "order",
        "SELECT count(*) FROM oms_order_delivery d JOIN oms_order_info o USING (order_id)"
        " WHERE o.request_no = $1",
        number,
    )
    assert parts == 10
