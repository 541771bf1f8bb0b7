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
