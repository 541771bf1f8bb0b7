"""Promises of the 虚拟货源 interface about bad input, copied queries, and callbacks of changed goods."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from typer.testing import CliRunner

from shoudan.order.v1 import audit_service_pb2 as audit_pb
from shoudan_order import commands
from shoudan_order.store import goods as store
from shoudan_signing import goofish
from tests.gateway.goofish_platform import (
    APP_ID,
    APP_SECRET,
    CARDS,
    OK,
    RECHARGE,
    SECRETS,
    Platform,
)
from tests.order.harness import OrderHarness, down_product
from tests.poll import eventually

WRONG_TYPES: list[dict[str, Any]] = [
    {"order_no": ["r"]},
    {"order_no": {"a": "b"}},
    {"order_no": True},
    {"order_no": "x" * 65},
    {"order_no": "a\u0000b"},
    {"order_no": "\ud800"},
    {"goods_no": []},
    {"buy_quantity": "1.0"},
    {"buy_quantity": "１"},
    {"buy_quantity": -1},
    {"buy_quantity": 10**30},
    {"buy_quantity": False},
    {"max_amount": 0},
    {"max_amount": "1e3"},
    {"max_amount": 10**30},
    {"notify_url": "ftp://h/"},
    {"notify_url": "http://h/" + "x" * 3_000},
    {"notify_url": 7},
    {"biz_content": "13800138000"},
    {"biz_content": ["13800138000"]},
    {"biz_content": {"account": {"a": "b"}}},
    {"biz_content": {"account": "x" * 65}},
]


@pytest.mark.parametrize("changes", WRONG_TYPES, ids=lambda one: str(one)[:40])
async def test_an_order_of_wrong_types_is_refused_by_its_code_and_stored_nowhere(
    platform: Platform, changes: dict[str, Any]
) -> None:
    raw = json.dumps(platform.order("typed", "501") | changes).encode()
    status, answer = await platform.send("order/recharge/create", raw)
    assert (status, answer["code"], set(answer)) == (200, 1201, {"code", "msg"}), answer
    rows = await platform.harness.sql("SELECT 1 FROM oms_order_info WHERE request_no = 'typed'")
    assert rows == []


async def test_a_body_that_is_too_large_or_too_deep_is_refused_in_shape(platform: Platform) -> None:
    huge = json.dumps(platform.order("huge", "501", biz_order_no="x" * 70_000)).encode()
    deep = b'{"order_no":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
    for body, code in ((huge, {1, 1201}), (deep, {1, 1201})):
        status, answer = await platform.send("order/recharge/create", body)
        assert (status, set(answer)) == (200, {"code", "msg"})
        assert answer["code"] in code


async def test_a_signature_gives_codes_once(platform: Platform) -> None:
    """What was overheard within the 300 s of a timestamp opens nothing; a new query does."""
    order = platform.order("c-once", "502")
    await platform.ask("order/purchase/create", order)
    await platform.told("c-once")
    body = json.dumps({"order_type": CARDS, "order_no": "c-once"}).encode()
    stamp = str(int(time.time()) - 7)
    signed = goofish.sign(goofish.Parties(APP_ID, APP_SECRET, "shop", SECRETS["shop"]), stamp, body)
    query = {"mch_id": "shop", "timestamp": stamp, "sign": signed}

    async def copy() -> Any:
        _, answer = await platform.front.ask(
            "/goofish/order/detail",
            "POST",
            params=query,
            data=body,
            headers={"Content-Type": "application/json"},
        )
        return answer

    first = await copy()
    assert len(first["data"]["card_items"]) == 1
    asked = len(platform.harness.delivery.cards.asked)
    assert await copy() == {"code": 408, "msg": "请求重复，请重新签名"}
    assert len(platform.harness.delivery.cards.asked) == asked
    again = await platform.ended("c-once", CARDS)
    assert again["card_items"] == first["data"]["card_items"]


CHANGES_DUE = "UPDATE task SET next_execute_time = shoudan_now() WHERE name = 'goods.change_notify'"


async def acknowledged(harness: OrderHarness, product_id: int) -> bool:
    """Whether the newest change of goods was, by all their subscriptions."""
    behind = await harness.sql(
        "SELECT 1 FROM oms_goods_subscription s JOIN oms_shelf_version v USING (channel_no, product_id)"
        " WHERE s.product_id = :product_id AND s.version < v.version",
        product_id=product_id,
    )
    return not behind


async def listed(harness: OrderHarness) -> list[Any]:
    """What the shop has not acknowledged, as operators see it."""
    asked = audit_pb.ListShelfNotifiesRequest(channel_no="shop")
    return list((await harness.audits.ListShelfNotifies(asked)).notifies)


async def test_changes_of_goods_are_told_as_they_are_until_acknowledged(platform: Platform) -> None:
    harness = platform.harness
    wish = {"goods_type": 1, "goods_no": "501", "token": "w-1", "notify_url": platform.url}
    other = wish | {"goods_no": "504", "token": "w-2"}
    for one in (wish, other):
        assert await platform.ask("goods/change/subscribe", one) == OK
    platform.answer = '{"code":1,"msg":"later"}'
    await harness.apply(
        down_products=[down_product(product_id=501, shelf_id=11, sell_discount_ppm=950_000)]
    )
    await eventually(lambda: platform.told_of("501"))
    query, told = platform.told_of("501")[0]
    assert told == {
        "goods_no": "501",
        "goods_type": RECHARGE,
        "goods_name": "加油卡 ZSH 200元",
        "price": 19_200,
        "stock": 99_999,
        "status": 1,
    }
    parties = goofish.Parties(APP_ID, APP_SECRET, "shop", SECRETS["shop"])
    raw = platform.callbacks[-1][1]
    assert query["sign"] == goofish.sign(parties, query["timestamp"], raw)
    assert query["token"] == "t1", "the address as it was given"
    assert platform.told_of("504") == [], "nothing of it changed"

    await eventually(lambda: listed(harness))
    (left,) = await listed(harness)
    assert (left.channel_no, left.product_id, left.token) == ("shop", 501, "w-1")
    assert (left.answer, left.fails >= 1, left.given_up) == ("HTTP 200", True, False)

    await harness.sql("UPDATE oms_goods_subscription SET fails = 10 WHERE token = 'w-1'")
    assert (await listed(harness))[0].given_up
    platform.answer = json.dumps(OK)
    await harness.apply(
        down_products=[down_product(product_id=501, shelf_id=11, enabled=False)]
    )  # a change begins again what was given up

    async def off() -> bool:
        await harness.sql(CHANGES_DUE)
        return platform.told_of("501")[-1][1]["status"] == 2

    await eventually(off)
    await eventually(lambda: acknowledged(harness, 501))
    assert await listed(harness) == []
    assert platform.told_of("501")[-1][1] == {
        "goods_no": "501",
        "goods_type": RECHARGE,
        "goods_name": "加油卡 ZSH 200元",
        "price": 18_200,
        "stock": 0,
        "status": 2,
    }
    await harness.apply(down_products=[down_product(product_id=501, shelf_id=11)])
    await eventually(lambda: acknowledged(harness, 501))
    for one in (wish, other):
        await end(platform, one)


async def end(platform: Platform, wish: dict[str, Any]) -> None:
    """Subscribe no more."""
    named = {name: wish[name] for name in ("goods_type", "goods_no", "token")}
    assert await platform.ask("goods/change/unsubscribe", named) == OK


async def test_who_subscribes_no_more_is_called_no_more(platform: Platform) -> None:
    harness = platform.harness
    wish = {"goods_type": 1, "goods_no": "501", "token": "w-4", "notify_url": platform.url}
    assert await platform.ask("goods/change/subscribe", wish) == OK
    await end(platform, wish)
    await harness.apply(
        down_products=[down_product(product_id=501, shelf_id=11, sell_discount_ppm=940_000)]
    )
    await harness.apply(down_products=[down_product(product_id=501, shelf_id=11)])

    async def no_task() -> bool:
        return not await harness.sql("SELECT 1 FROM task WHERE name = 'goods.change_notify'")

    await eventually(no_task)
    assert platform.told_of("501") == []


async def test_a_change_between_the_look_and_its_end_is_told(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writer found the task of this round waiting, and made none."""
    harness = platform.harness
    wish = {"goods_type": 1, "goods_no": "501", "token": "w-5", "notify_url": platform.url}
    assert await platform.ask("goods/change/subscribe", wish) == OK
    due, looks = store.due, list[str]()

    async def a_moment_before(db: Any, channel_no: str, most: int) -> list[store.Due]:
        looks.append(channel_no)
        return [] if len(looks) == 1 else await due(db, channel_no, most)

    monkeypatch.setattr(store, "due", a_moment_before)
    await harness.apply(
        down_products=[down_product(product_id=501, shelf_id=11, sell_discount_ppm=920_000)]
    )
    await eventually(lambda: acknowledged(harness, 501))
    assert len(platform.told_of("501")) == 1
    monkeypatch.undo()
    await harness.apply(down_products=[down_product(product_id=501, shelf_id=11)])
    await eventually(lambda: acknowledged(harness, 501))
    await end(platform, wish)


async def test_given_up_callbacks_are_listed_shown_and_sent_again_by_an_operator(
    platform: Platform,
) -> None:
    harness = platform.harness
    wish = {"goods_type": 1, "goods_no": "501", "token": "w-3", "notify_url": platform.url}
    assert await platform.ask("goods/change/subscribe", wish) == OK
    platform.answer = "no"
    await harness.apply(
        down_products=[down_product(product_id=501, shelf_id=11, sell_discount_ppm=930_000)]
    )
    await eventually(lambda: platform.told_of("501"))
    await harness.sql("UPDATE oms_goods_subscription SET fails = 10 WHERE token = 'w-3'")

    async def said(*argv: str) -> str:
        target = ("--target", f"127.0.0.1:{harness.process.port}")
        done = await asyncio.to_thread(CliRunner().invoke, commands.notify, [*argv, *target])
        assert done.exit_code == 0, done.output
        return done.output

    shown = await said("ls")
    assert "shop  goods 501 (w-3)  given up after 10" in shown
    platform.answer = json.dumps(OK)
    assert await said("resend", "--channel-no", "shop") == "1 sent again\n"

    await eventually(lambda: acknowledged(harness, 501))
    assert "goods 501" not in await said("ls", "--channel-no", "shop")
    order = platform.order("r-show", "501")
    await platform.ask("order/recharge/create", order)
    await platform.told("r-show")
    number = (await platform.ended("r-show"))["out_order_no"]
    assert platform.url in await said("show", number)
    await harness.apply(down_products=[down_product(product_id=501, shelf_id=11)])
    end = {"goods_type": 1, "goods_no": "501", "token": "w-3"}
    assert await platform.ask("goods/change/unsubscribe", end) == OK
