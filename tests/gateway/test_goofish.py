"""Promises of the 虚拟货源 standard interface, as its platform calls gateway and order service."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from shoudan_gateway.partners import load
from shoudan_order import goods_changes
from shoudan_order.catalogue import shelves
from shoudan_order.catalogue.goods import MANY, index_of
from shoudan_order.delivery_client import OwnStock
from shoudan_order.store import goods as store
from shoudan_signing import goofish
from tests.gateway.goofish_platform import (
    ACCOUNT,
    APP_ID,
    APP_SECRET,
    CARDS,
    OK,
    RECHARGE,
    SECRETS,
    TOKEN,
    Platform,
)
from tests.order.harness import YUAN, down_product
from tests.order.test_binding import down, market, up
from tests.order.test_notifies import DUE
from tests.poll import eventually


async def test_goods_of_our_own_stock_say_how_many_there_are(platform: Platform) -> None:
    cards = platform.harness.delivery.cards
    kind = ("ycup", "ZSH", 200 * YUAN)
    detail = {"goods_type": CARDS, "goods_no": "502"}

    async def shows(count: int) -> None:
        async def so() -> bool:
            return (await platform.ask("goods/detail", detail))["data"]["stock"] == count

        await eventually(so)

    await shows(99_999)  # another supplier's: not known
    cards.stock_channels = ("ycup",)
    await shows(0)  # ours, and never had one
    cards.stocked = {kind: 7, ("ycup", "ZSH", 100 * YUAN): 5, ("up_2", "ZSH", 200 * YUAN): 9}
    await shows(7)
    page = (await platform.ask("goods/list", {"page_no": 1, "page_size": 100}))["data"]["list"]
    assert {one["goods_no"]: one["stock"] for one in page} == {
        "501": 99_999,
        "502": 7,
        "503": 0,
        "504": 99_999,
    }
    facts = await goods_changes.facts_of(platform.harness.context, "shop", 502)
    assert facts["stock"] == 7
    cards.refusal = "away"
    await shows(99_999)


def test_parts_of_smaller_faces_make_goods_of_our_own_stock() -> None:
    ups = [up(300), up(301, face_micros=50 * YUAN), up(302, face_micros=400 * YUAN)]
    made = market([down(can_split_order=True)], ups)
    line = replace(made.lines[1], service_class=20)
    one = replace(made, lines={1: line})
    (goods,) = index_of(one).search("test", "", None)
    cards = {
        ("s300", "ZSH", 200 * YUAN): 3,
        ("s301", "ZSH", 50 * YUAN): 7,
        ("s302", "ZSH", 400 * YUAN): 9,
    }
    own = OwnStock(frozenset({"s300", "s301", "s302"}), cards)
    assert shelves.stock_of(one, goods, own) == 3 + 1
    assert shelves.stock_of(one, goods, OwnStock(frozenset({"s300"}), cards)) == MANY
    many = OwnStock(own.channels, {("s300", "ZSH", 200 * YUAN): 10**6})
    assert shelves.stock_of(one, goods, many) == MANY


async def test_the_platform_reads_our_application_and_what_a_merchant_has(
    platform: Platform,
) -> None:
    status, answer = await platform.front.ask("/goofish/open/info", "POST")
    assert (status, answer) == (200, OK | {"data": {"app_id": int(APP_ID)}})
    platform.harness.ledger.balances["down_channel", "shop"] = 12_345_678
    assert await platform.ask("user/info") == OK | {"data": {"balance": 1_234}}
    assert await platform.ask("user/info", b"") == OK | {"data": {"balance": 1_234}}


async def test_goods_are_listed_searched_and_shown(platform: Platform) -> None:
    page = {"page_no": 1, "page_size": 100}
    whole = (await platform.ask("goods/list", page))["data"]
    assert [one["goods_no"] for one in whole["list"]] == ["501", "502", "503", "504"]
    assert whole["count"] == 4
    fuel, voucher, off, local = whole["list"]
    assert fuel.pop("update_time") > time.time() - 600
    assert fuel == {
        "goods_no": "501",
        "goods_type": RECHARGE,
        "goods_name": "加油卡 ZSH 200元",
        "price": 18_200,
        "stock": 99_999,
        "status": 1,
        "template": [{"code": "account", "name": "充值账号", "desc": "", "check": 0}],
    }
    assert (voucher["goods_type"], "template" in voucher) == (CARDS, False)
    assert (off["status"], off["stock"]) == (2, 0)
    assert (local["goods_name"], local["price"]) == ("加油卡 ZSH 广东 200元", 6_867)
    for wanted, found in (
        ({"keyword": "广东"}, ["504"]),
        ({"keyword": "502"}, ["502"]),
        ({"keyword": "50"}, []),
        ({"goods_type": CARDS}, ["502"]),
        ({"page_no": 2, "page_size": 3}, ["504"]),
        ({"keyword": "", "goods_type": None}, ["501", "502", "503", "504"]),
    ):
        answer = (await platform.ask("goods/list", page | wanted))["data"]
        assert [one["goods_no"] for one in answer["list"]] == found, wanted
    shown = (await platform.ask("goods/detail", {"goods_type": 1, "goods_no": "504"}))["data"]
    assert shown == local


@pytest.mark.parametrize("goods_no", ["601", "999", "0501", "x", "9" * 30])
async def test_goods_of_others_and_of_none_are_answered_alike(
    platform: Platform, goods_no: str
) -> None:
    missing = {"code": 1100, "msg": "商品不存在"}
    body = {"goods_type": 1, "goods_no": goods_no}
    assert await platform.ask("goods/detail", body) == missing
    assert (
        await platform.ask("goods/detail", body | {"goods_type": 2, "goods_no": "501"}) == missing
    )
    order = platform.order(f"none-{goods_no[:9]}", goods_no)
    assert await platform.ask("order/recharge/create", order) == missing
    wish = body | {"token": TOKEN, "notify_url": platform.url}
    assert await platform.ask("goods/change/subscribe", wish) == missing


async def test_a_recharge_is_ordered_told_and_found(platform: Platform) -> None:
    order = platform.order("r-1", "501", max_amount=18_200)
    made = (await platform.ask("order/recharge/create", order))["data"]
    assert abs(made.pop("order_time") - time.time()) < 60
    made.pop("end_time", None)  # it may have ended by now
    out_order_no = made["out_order_no"]
    assert made == {
        "order_type": RECHARGE,
        "order_no": "r-1",
        "out_order_no": out_order_no,
        "order_status": made["order_status"],
        "order_amount": 18_200,
        "goods_no": "501",
        "goods_name": "加油卡 ZSH 200元",
        "buy_quantity": 1,
        "biz_content": {"account": ACCOUNT},
    }
    found = await platform.ended("r-1")
    assert found["end_time"] >= found["order_time"]
    body = {"order_type": RECHARGE, "out_order_no": out_order_no}
    assert (await platform.ask("order/detail", body))["data"] == found
    ((query, told),) = await platform.told("r-1")
    assert query["token"] == "t1"
    assert told == {
        "order_type": RECHARGE,
        "order_no": "r-1",
        "out_order_no": out_order_no,
        "order_status": 20,
        "end_time": found["end_time"],
    }


async def test_a_callback_is_signed_and_sent_again_until_its_code_is_0(platform: Platform) -> None:
    platform.answer = '{"code":1,"msg":"later"}'
    await platform.ask("order/recharge/create", platform.order("again", "501"))
    await platform.told("again", 2)
    platform.answer = '{"code":0,"msg":"OK"}'
    query, body = next(one for one in platform.callbacks if b"again" in one[1])
    parties = goofish.Parties(APP_ID, APP_SECRET, "shop", SECRETS["shop"])
    assert query["mch_id"] == "shop"
    assert query["sign"] == goofish.sign(parties, query["timestamp"], body)
    assert abs(int(query["timestamp"]) - time.time()) < 60

    async def done() -> bool:
        await platform.harness.sql(DUE)
        rows = await platform.harness.sql(
            "SELECT n.notify_status FROM oms_notify_info n JOIN oms_order_info o USING (order_id)"
            " WHERE o.request_no = 'again'"
        )
        return rows[0][0] == 0

    await eventually(done)


async def test_codes_come_with_the_answer_and_the_callback_and_each_is_recorded(
    platform: Platform,
) -> None:
    order = platform.order("c-1", "502", buy_quantity=2)
    del order["biz_content"]
    asked = platform.harness.delivery.cards.asked
    before = len(asked)
    made = (await platform.ask("order/purchase/create", order))["data"]
    assert (made["order_type"], "card_items" in made, "biz_content" in made) == (
        CARDS,
        False,
        False,
    )
    ((_, told),) = await platform.told("c-1")
    found = await platform.ended("c-1", CARDS)
    assert [one["card_pwd"] for one in found["card_items"]] == ["8812 4501"] * 2
    assert len({one["card_no"] for one in found["card_items"]}) == 2
    assert told["card_items"] == found["card_items"]
    assert [hasattr(one, "remote_ip") for one in asked[before:]].count(False) == 1
    assert asked[-1].remote_ip == "127.0.0.1"
    kept = await platform.harness.sql("SELECT answer FROM oms_notify_attempt")
    assert not any("8812" in one[0] for one in kept)


async def test_codes_that_cannot_be_read_or_are_too_many_are_refused(platform: Platform) -> None:
    platform.harness.delivery.cards.refusal = "ERROR_REASON_CARDS_UNREADABLE"
    order = platform.order("c-lost", "502")
    await platform.ask("order/purchase/create", order)
    body = {"order_type": CARDS, "order_no": "c-lost"}

    async def refused() -> bool:
        return (await platform.ask("order/detail", body))["code"] == 500

    await eventually(refused)
    many = platform.order("many", "502", buy_quantity=101)
    assert (await platform.ask("order/purchase/create", many))["code"] == 1201
    assert not [one for one in platform.callbacks if b"c-lost" in one[1]]
    platform.harness.delivery.cards.refusal = ""
    ((_, told),) = await platform.told("c-lost")
    assert told["card_items"]


async def test_a_failed_order_is_told_with_why(platform: Platform) -> None:
    platform.harness.ledger.limits["shop"] = 0
    platform.harness.ledger.balances["down_channel", "shop"] = 0
    await platform.ask("order/recharge/create", platform.order("f-1", "501"))
    found = await platform.ended("f-1", status=30)
    assert found["remark"]
    ((_, told),) = await platform.told("f-1")
    assert (told["order_status"], told["remark"]) == (30, found["remark"])
    del platform.harness.ledger.limits["shop"]


async def test_a_repeat_is_the_same_order_at_any_price_and_another_wish_is_refused(
    platform: Platform,
) -> None:
    order = platform.order("same", "501", max_amount=18_200)
    first = (await platform.ask("order/recharge/create", order))["data"]
    dearer = down_product(product_id=501, shelf_id=11, sell_discount_ppm=950_000)
    await platform.harness.apply(down_products=[dearer])
    again = (await platform.ask("order/recharge/create", order))["data"]
    assert again["out_order_no"] == first["out_order_no"]
    assert again["order_amount"] == 18_200
    for changes in (
        {"buy_quantity": 2},
        {"goods_no": "504"},
        {"biz_content": {"account": "13900001234"}},
        {"notify_url": platform.url + "2"},
    ):
        answer = await platform.ask("order/recharge/create", order | changes)
        assert answer == {"code": 1203, "msg": "下单管家订单号已存在"}, changes
    fresh = await platform.ask("order/recharge/create", order | {"order_no": "dearer"})
    assert fresh == {"code": 1202, "msg": "下单金额低于成本价"}
    await platform.harness.apply(down_products=[down_product(product_id=501, shelf_id=11)])


async def test_racing_repeats_are_one_order(platform: Platform) -> None:
    order = platform.order("race", "501")
    answers = await asyncio.gather(
        *(platform.ask("order/recharge/create", order) for _ in range(20))
    )
    assert len({one["data"]["out_order_no"] for one in answers}) == 1


async def test_another_merchant_s_order_is_none(platform: Platform) -> None:
    made = (await platform.ask("order/recharge/create", platform.order("mine", "501")))["data"]
    for body in (
        {"order_no": "mine"},
        {"out_order_no": made["out_order_no"]},
        {"order_no": "none"},
    ):
        answer = await platform.ask("order/detail", {"order_type": 1} | body, mch_id="rival")
        assert answer == {"code": 1200, "msg": "订单不存在"}
    other_type = {"order_type": 2, "order_no": "mine"}
    assert (await platform.ask("order/detail", other_type))["code"] == 1200


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"buy_quantity": 0}, 1201),
        ({"buy_quantity": "x"}, 1201),
        ({"buy_quantity": 11}, 1201),
        ({"buy_quantity": None}, 1201),
        ({"max_amount": 0}, 1201),
        ({"max_amount": 1.5}, 1201),
        ({"max_amount": 18_199}, 1202),
        ({"order_no": ""}, 1201),
        ({"order_no": "x" * 65}, 1201),
        ({"order_no": ["x"]}, 1201),
        ({"biz_content": None}, 1201),
        ({"biz_content": {"account": ""}}, 1201),
        ({"biz_content": {"account": {"deep": 1}}}, 1201),
        ({"notify_url": "ftp://h/x"}, 1201),
        ({"notify_url": None}, 1201),
        ({"goods_no": "503"}, 1101),
        ({"goods_no": "502"}, 1100),
    ],
)
async def test_what_cannot_be_ordered_is_refused_by_its_code(
    platform: Platform, changes: dict[str, Any], code: int
) -> None:
    order = platform.order("wrong", "501") | changes
    answer = await platform.ask("order/recharge/create", order)
    assert answer["code"] == code, answer
    assert set(answer) == {"code", "msg"}
    rows = await platform.harness.sql("SELECT 1 FROM oms_order_info WHERE request_no = 'wrong'")
    assert rows == []


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b'{"a":1,"a":2}', b"[" * 50])
async def test_a_body_that_is_none_is_refused_in_shape(platform: Platform, body: bytes) -> None:
    for path in ("goods/list", "order/detail", "goods/change/subscribe"):
        status, answer = await platform.send(path, body)
        assert (status, answer["code"], set(answer)) == (200, 1, {"code", "msg"})
    for path in ("order/recharge/create", "order/purchase/create"):
        status, answer = await platform.send(path, body)
        assert (status, answer["code"], set(answer)) == (200, 1201, {"code", "msg"})


async def test_who_signs_wrongly_late_or_not_is_refused(platform: Platform) -> None:
    wrong = {"code": 401, "msg": "签名错误"}
    late = {"code": 408, "msg": "时间戳已超过有效期"}
    paths = [one.path for one in load()["goofish"].endpoints if not one.path.endswith("open/info")]
    assert len(paths) == 9
    for path in paths:
        assert await platform.ask(path, sign="0" * 32) == wrong
        assert await platform.ask(path, sign="") == wrong
        assert await platform.ask(path, mch_id="unknown") == wrong
        assert await platform.ask(path, mch_id="test") == wrong, "a channel of another scheme"
        assert await platform.ask(path, shift_s=-301) == late
        assert await platform.ask(path, shift_s=301) == late
        assert (await platform.front.ask(path, "POST"))[1] == wrong


async def test_a_channel_of_this_scheme_signs_no_other_call(platform: Platform) -> None:
    query = {"channel_no": "shop", "request_no": "r-1"}
    assert (await platform.front.ask("/order/query", params=query))[0] == 401
    status, answer = await platform.front.ask("/order/query", params=query | {"sign": "0" * 32})
    assert (status, answer["message"]) == (403, "签名错误")


async def test_unknown_paths_and_methods_are_refused_in_shape(platform: Platform) -> None:
    answer = {"code": 1, "msg": "请求地址不存在"}
    assert await platform.front.ask("/goofish/nothing", "POST") == (200, answer)
    assert await platform.front.ask("/goofish/goods/list/", "POST") == (200, answer)
    assert (await platform.front.ask("/goofish/goods/list"))[1]["msg"] == "请求方式不支持"


async def test_subscriptions_are_kept_listed_and_ended(platform: Platform) -> None:
    wish = {"goods_type": 1, "goods_no": "501", "token": TOKEN, "notify_url": platform.url}
    page = {"goods_type": "", "goods_no": "", "page_no": 1, "page_size": 100}
    assert await platform.ask("goods/change/subscribe", wish) == OK
    assert await platform.ask("goods/change/subscribe", wish | {"notify_url": "https://h/2"}) == OK
    card = wish | {"goods_no": "502", "goods_type": 2}
    assert await platform.ask("goods/change/subscribe", card) == OK
    listed = (await platform.ask("goods/change/subscribe/list", page))["data"]
    assert listed["count"] == 2
    first, second = listed["list"]
    assert first.pop("subscribe_time") > time.time() - 600
    assert first == wish | {"notify_url": "https://h/2"}
    assert second["goods_no"] == "502"
    for wanted, found in (({"goods_type": 2}, ["502"]), ({"goods_no": "501"}, ["501"])):
        answer = (await platform.ask("goods/change/subscribe/list", page | wanted))["data"]
        assert [one["goods_no"] for one in answer["list"]] == found
    rivals = await platform.ask("goods/change/subscribe/list", page, mch_id="rival")
    assert rivals["data"] == {"list": [], "count": 0}
    end = {"goods_type": 1, "goods_no": "501", "token": TOKEN}
    for _ in range(2):
        assert await platform.ask("goods/change/unsubscribe", end) == OK
    left = (await platform.ask("goods/change/subscribe/list", page))["data"]
    assert [one["goods_no"] for one in left["list"]] == ["502"]


async def test_subscriptions_of_a_channel_are_bounded(platform: Platform) -> None:
    async with platform.harness.process.app.db.begin() as db:
        assert await store.subscribe(db, ("rival", 601, "a"), "https://h/", 2)
        assert await store.subscribe(db, ("rival", 601, "b"), "https://h/", 2)
        assert not await store.subscribe(db, ("rival", 601, "c"), "https://h/", 2)
        assert await store.subscribe(db, ("rival", 601, "a"), "https://h/other", 2)
        await db.rollback()
