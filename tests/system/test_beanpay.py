"""The ledger by HTTP on the internal listener: documented codes, 分 in and out, repeats answered 201."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = pytest.mark.system


async def call(partner: Any, path: str, eid: str, **values: Any) -> tuple[int, Any]:
    params = {"ident": "shop", "groups": "down_channel", "eid": eid, **values}
    url = partner.system.internal_url + path
    async with partner.http.get(url, params={k: str(v) for k, v in params.items()}) as answer:
        return answer.status, json.loads(await answer.text())


async def test_an_account_lives_by_the_documented_codes(partner) -> None:
    eid = partner.number()
    status, made = await call(partner, "/account/create", eid, account_name="shop")
    assert (status, made["code"], made["balance"]) == (200, 200, 0)
    _, again = await call(partner, "/account/create", eid, account_name="shop")
    assert (again["code"], again["account_id"]) == (201, made["account_id"])

    add = "/account/balance/add"
    _, added = await call(partner, add, eid, trade_no="a1", amount="1000.5")
    assert (added["code"], added["amount"], added["balance"]) == (200, 1000.5, 1000.5)
    _, replay = await call(partner, add, eid, trade_no="a1", amount="1000.5")
    assert (replay["code"], replay["record_id"]) == (201, added["record_id"])
    status, other = await call(partner, add, eid, trade_no="a1", amount="1")
    assert (status, other["code"]) == (409, 901)

    deduct, refund = "/account/balance/deduct", "/account/balance/refund"
    status, short = await call(partner, deduct, eid, trade_no="d0", amount=2000)
    assert (status, short["code"], short["message"]) == (400, 904, "帐户余额不足")
    _, deducted = await call(partner, deduct, eid, trade_no="d1", amount=600)
    assert (deducted["amount"], deducted["balance"]) == (-600, 400.5)
    _, back = await call(partner, refund, eid, trade_no="r1", ext_no="d1", amount=600)
    assert (back["code"], back["balance"]) == (200, 1000.5)
    _, back = await call(partner, refund, eid, trade_no="r1", ext_no="d1", amount=600)
    assert back["code"] == 201
    _, more = await call(partner, refund, eid, trade_no="r2", ext_no="d1", amount=1)
    assert more["code"] == 903

    _, red = await call(partner, "/account/balance/reverseadd", eid, trade_no="x1", ext_no="a1")
    assert (red["amount"], red["balance"]) == (-1000.5, 0)
    _, records = await call(partner, "/account/record/query", eid)
    assert (records["count"], len(records["data"])) == (4, 4)


async def test_amounts_that_are_none_are_refused(partner) -> None:
    eid = partner.number()
    await call(partner, "/account/create", eid, account_name="shop")
    for amount in ("0", "-1", "1.0001", "1e3", "99999999999999"):
        status, body = await call(partner, "/account/balance/add", eid, trade_no="a", amount=amount)
        assert (status, body["code"]) == (400, 903), amount
    status, body = await call(partner, "/account/balance/add", "nobody", trade_no="a", amount="1")
    assert (status, body["code"]) == (404, 908)


async def test_a_locked_account_moves_nothing(partner) -> None:
    eid = partner.number()
    await call(partner, "/account/create", eid, account_name="shop")
    _, locked = await call(partner, "/account/update", eid, status=1)
    assert locked["status"] == 1
    _, body = await call(partner, "/account/balance/add", eid, trade_no="a", amount="1")
    assert body["code"] == 401


async def test_a_service_package_counts_down(partner) -> None:
    eid = partner.number()
    await call(partner, "/account/create", eid, account_name="shop")
    bundle = {"spkg_id": "s1"}
    _, made = await call(
        partner, "/package/create", eid, **bundle, pkg_name="bundle", total_capacity=10
    )
    assert (made["code"], made["total_remain"]) == (200, 10)
    _, used = await call(partner, "/package/capacity/deduct", eid, **bundle, trade_no="t1", num=4)
    assert (used["num"], used["remain"]) == (-4, 6)
    _, short = await call(partner, "/package/capacity/deduct", eid, **bundle, trade_no="t2", num=7)
    assert short["code"] == 904
    _, back = await call(partner, "/package/capacity/refund", eid, **bundle, trade_no="t1", num=4)
    assert back["remain"] == 10
    _, records = await call(partner, "/package/record/query", eid, **bundle)
    assert records["count"] >= 2


async def test_refunds_are_partial_repeated_and_never_more_than_was_deducted(partner) -> None:
    eid = partner.number()
    await call(partner, "/account/create", eid, account_name="shop")
    await call(partner, "/account/balance/add", eid, trade_no="a1", amount=1000)
    await call(partner, "/account/balance/deduct", eid, trade_no="d1", amount=600)
    refund = "/account/balance/refund"
    for number, amount, status, code in (
        ("r1", 200, 200, 200),
        ("r1", 200, 200, 201),
        ("r1", 201, 409, 901),
        ("r2", "400.001", 400, 903),
        ("r2", 400, 200, 200),
        ("r1", 200, 200, 201),
        ("r3", "0.001", 400, 903),
    ):
        got, body = await call(partner, refund, eid, trade_no=number, ext_no="d1", amount=amount)
        assert (got, body["code"]) == (status, code), (number, amount)
    assert body["message"] == "扣款金额:600,已退款金额:600,本次退款金额:0.001"
    got, body = await call(partner, refund, eid, trade_no="r4", ext_no="a1", amount=1)
    assert (got, body["code"], body["message"]) == (404, 908, "交易编号(a1)不存在")
    _, shown = await call(partner, "/account/query", eid)
    assert shown["balance"] == 1000


async def test_a_reversal_is_whole_and_once(partner) -> None:
    eid = partner.number()
    await call(partner, "/account/create", eid, account_name="shop")
    await call(partner, "/account/balance/add", eid, trade_no="a1", amount="10.5")
    await call(partner, "/account/balance/drawing", eid, trade_no="w1", amount=10)
    add, drawing = "/account/balance/reverseadd", "/account/balance/reversedrawing"
    for path, number, quoted, status, code in (
        (add, "x1", "a1", 400, 904),
        (drawing, "x2", "w1", 200, 200),
        (drawing, "x2", "w1", 200, 201),
        (drawing, "x3", "w1", 409, 201),
        (add, "x1", "a1", 200, 200),
        (add, "x4", "w1", 404, 908),
    ):
        got, body = await call(partner, path, eid, trade_no=number, ext_no=quoted)
        assert (got, body["code"]) == (status, code), (number, body)
    _, shown = await call(partner, "/account/query", eid)
    assert shown["balance"] == 0


MOVES: Any = (
    ("add", {}),
    ("drawing", {}),
    ("deduct", {}),
    ("refund", {"ext_no": "d1"}),
    ("reverseadd", {"ext_no": "a1"}),
    ("reversedrawing", {"ext_no": "w1"}),
    ("tradeflat", {}),
    ("balanceflat", {}),
)


async def test_a_locked_account_refuses_every_move_and_repeats_are_still_answered(partner) -> None:
    eid = partner.number()
    await call(partner, "/account/create", eid, account_name="shop")
    await call(partner, "/account/balance/add", eid, trade_no="a1", amount=100)
    await call(partner, "/account/update", eid, status=1)
    for name, more in MOVES:
        path = f"/account/balance/{name}"
        got, body = await call(partner, path, eid, trade_no="n1", amount=1, **more)
        assert (got, body["code"]) == (400, 401), name
    got, body = await call(partner, "/account/balance/setcredit", eid, credit=5)
    assert (got, body["code"]) == (400, 401)
    _, again = await call(partner, "/account/balance/add", eid, trade_no="a1", amount=100)
    assert again["code"] == 201
    _, open_again = await call(partner, "/account/update", eid, status=0, account_name="other")
    assert (open_again["status"], open_again["account_name"]) == (0, "other")


async def test_what_cannot_be_read_names_the_parameter(partner) -> None:
    eid = partner.number()
    await call(partner, "/account/create", eid, account_name="shop")
    for path, values, status, code in (
        ("/account/create", {}, 406, 406),
        ("/account/balance/add", {"amount": 1}, 406, 406),
        ("/account/balance/add", {"trade_no": "t"}, 406, 406),
        ("/account/balance/add", {"trade_no": "t" * 65, "amount": 1}, 406, 406),
        ("/account/balance/add", {"trade_no": "t", "amount": 2**53}, 400, 903),
        ("/account/balance/add", {"trade_no": "t", "amount": "0.0001"}, 400, 903),
        ("/account/balance/setcredit", {"credit": -1}, 400, 903),
        ("/account/balance/deduct", {"trade_no": "t", "amount": 1, "trade_type": 4}, 406, 406),
        ("/account/record/query", {"start": "2020"}, 406, 406),
        ("/account/querylist", {"pi": 0}, 406, 406),
    ):
        got, body = await call(partner, path, eid, **values)
        assert (got, body["code"]) == (status, code), (path, values, body)


async def test_packages_expire_have_a_day_s_limit_and_give_back_once(partner) -> None:
    eid = partner.number()
    await call(partner, "/account/create", eid, account_name="shop")
    old = {"spkg_id": "old", "pkg_name": "p", "total_capacity": 10, "expires": "20200101"}
    daily = {"spkg_id": "daily", "pkg_name": "p", "total_capacity": 10, "capacity_daily": 3}
    for wanted in (old, daily):
        await call(partner, "/package/create", eid, **wanted)
    for name, spkg, number, num, status, code in (
        ("deduct", "old", "t1", 1, 400, 904),
        ("add", "old", "t1", 1, 400, 904),
        ("drawing", "old", "t1", 1, 200, 200),
        ("deduct", "daily", "t1", 4, 400, 904),
        ("deduct", "daily", "t1", 3, 200, 200),
        ("deduct", "daily", "t1", 3, 200, 201),
        ("deduct", "daily", "t1", 2, 409, 901),
        ("deduct", "daily", "t2", 1, 400, 904),
        ("refund", "daily", "t1", 4, 400, 903),
        ("refund", "daily", "t1", 1, 200, 200),
        ("refund", "daily", "t1", 1, 200, 201),
        ("refund", "daily", "none", 1, 404, 908),
        ("deduct", "daily", "t3", 1, 200, 200),
        ("add", "daily", "t4", 0, 400, 903),
        ("add", "daily", "t4", "1.5", 400, 903),
        ("add", "daily", "t4", 2**53, 400, 903),
        ("add", "nobody", "t4", 1, 404, 908),
    ):
        path = f"/package/capacity/{name}"
        got, body = await call(partner, path, eid, spkg_id=spkg, trade_no=number, num=num)
        assert (got, body["code"]) == (status, code), (name, spkg, number, num, body)


async def test_form_and_json_say_the_same_and_the_public_side_knows_nothing(partner) -> None:
    eid = partner.number()
    values = {"ident": "shop", "groups": "down_channel", "eid": eid}
    url = partner.system.internal_url
    async with partner.http.post(
        f"{url}/account/create", data={**values, "account_name": "n"}
    ) as made:
        assert (await made.json())["code"] == 200
    add = {**values, "trade_no": "a1", "amount": 10.5}
    codes: list[int] = []
    for sent in ({"json": add}, {"data": {k: str(v) for k, v in add.items()}}, {"json": add}):
        async with partner.http.post(f"{url}/account/balance/add", **sent) as answer:
            codes.append((await answer.json())["code"])
    assert codes == [200, 201, 201]
    public = f"{partner.system.gateway_url}/account/query"
    async with partner.http.get(public, params=values) as answer:
        assert answer.status == 404
