"""Promises about pays: built-in ways on the real ledger, repeats, batches, bad input, templates and modes."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_pay.payserver.rules import MEMBER_BALANCE, MEMBER_PACKAGE
from tests.pay.payserver.harness import PayserverHarness, body, number, on_account

KEYS = ["name", "statusCode", "code", "message", "description", "stack"]


async def test_a_sign_account_pays_within_its_credit_and_not_beyond(
    harness: PayserverHarness,
) -> None:
    mode = await harness.mode()
    key = await harness.account(mode, credit_fen=70)
    status, paid = await harness.post("pay", on_account(mode, key))
    assert (status, paid["ret"], paid["data"]["status"]) == (200, "success", "payed")
    assert paid["data"]["thirdPayNo"] == paid["data"]["tractionNo"]
    assert await harness.balance_fen(key) == -50
    wish = on_account(mode, key)
    status, no = await harness.post("pay", wish)
    assert (status, list(no), no["code"], no["stack"]) == (500, KEYS, 9999, "")
    assert no["message"].startswith("PayOrderBusiness->create pay Error:{")
    assert "904 帐户余额不足" in no["message"]
    assert await harness.balance_fen(key) == -50
    # It is stored as payFailed, and asked again it is told as stored.
    status, again = await harness.post("pay", wish)
    assert (status, again["ret"], again["data"]["status"]) == (200, "failed", "payFailed")


async def test_a_member_pays_from_the_balance(harness: PayserverHarness) -> None:
    mode = await harness.mode(MEMBER_BALANCE, name="会员储值")
    key = await harness.account(mode, fen=80, groups="member")
    wish = body(mode, payParams={"memberUUID": key.eid})
    assert (await harness.post("pay", wish))[1]["data"]["status"] == "payed"
    assert await harness.balance_fen(key) == 30


async def package(harness: PayserverHarness, key: pb.AccountKey, spkg: str, remain: int) -> None:
    await harness.ledger.CreatePackage(
        pb.CreatePackageRequest(account=key, spkg_id=spkg, name=spkg, total_capacity=remain)
    )


async def remain(harness: PayserverHarness, key: pb.AccountKey, spkg: str) -> int:
    found = await harness.ledger.GetPackage(pb.GetPackageRequest(account=key, spkg_id=spkg))
    return found.package.total_remain


async def test_a_member_pays_with_packages_all_of_them_or_none(harness: PayserverHarness) -> None:
    mode = await harness.mode(MEMBER_PACKAGE, name="会员储次")
    key = await harness.account(mode, groups="member")
    await package(harness, key, "wash", 5)
    await package(harness, key, "cut", 1)

    def wish(wash: int, cut: int) -> dict[str, Any]:
        details = [
            {"name": "A", "merchandiseUUID": "wash", "styleUUID": "s", "count": wash},
            {"name": "B", "merchandiseUUID": "cut", "styleUUID": "s", "count": cut},
        ]
        return body(mode, payParams={"memberUUID": key.eid, "merchandiseDetails": details})

    status, no = await harness.post("pay", wish(2, 2))
    assert status == 500
    assert "904 服务包剩余数量不足" in no["message"]
    assert (await remain(harness, key, "wash"), await remain(harness, key, "cut")) == (5, 1)
    _, paid = await harness.post("pay", wish(2, 1))
    assert paid["data"]["status"] == "payed"
    assert (await remain(harness, key, "wash"), await remain(harness, key, "cut")) == (3, 0)
    part = {"payTractionNo": paid["data"]["tractionNo"], "clientRefundNo": number("r")}
    status, no = await harness.post("refund", part | {"refundAmount": 10})
    assert (status, "refunded as a whole" in no["message"]) == (500, True)
    assert (await harness.post("refund", part))[1]["data"]["status"] == "refunded"
    assert (await remain(harness, key, "wash"), await remain(harness, key, "cut")) == (5, 1)


async def test_an_offline_mode_stores_nothing(harness: PayserverHarness) -> None:
    mode = await harness.mode("C924182F-581B-4990-944A-ABCAB8E552B3", name="现金")
    wish = body(mode)
    assert await harness.post("pay", wish) == (
        200,
        {"ret": "success", "businessRet": "offlinePay", "data": {}},
    )
    assert (await harness.get("payOrders", clientPayNo=wish["clientPayNo"]))[1]["size"] == 0


async def test_a_hundred_identical_pays_are_one(harness: PayserverHarness) -> None:
    mode = await harness.mode()
    key = await harness.account(mode, credit_fen=10_000)
    wish = on_account(mode, key)
    answers = await asyncio.gather(*[harness.post("pay", wish) for _ in range(100)])
    assert all(one == answers[0] for one in answers)
    assert answers[0][0] == 200
    assert await harness.balance_fen(key) == -50


async def test_a_hundred_identical_pays_call_the_component_once(harness: PayserverHarness) -> None:
    mode = await harness.component_mode()
    wish = body(mode)
    answers = await asyncio.gather(*[harness.post("pay", wish) for _ in range(100)])
    assert all(one == answers[0] for one in answers)
    traction = answers[0][1]["data"]["tractionNo"]
    assert harness.component.pays[traction].calls == 1


async def test_the_same_number_with_other_content_is_refused_and_changes_nothing(
    harness: PayserverHarness,
) -> None:
    mode = await harness.mode()
    key = await harness.account(mode, credit_fen=1000)
    wish = on_account(mode, key)
    _, first = await harness.post("pay", wish)
    spaced = wish | {"payParams": dict(reversed(wish["payParams"].items()))}
    assert await harness.post("pay", spaced) == (200, first)
    for other in ({"payAmount": 51}, {"payer": "B"}, {"payParams": {}}):
        status, no = await harness.post("pay", wish | other)
        assert (status, no["code"], list(no)) == (409, 9999, KEYS)
    assert await harness.balance_fen(key) == -50
    assert (await harness.get("payOrders", clientPayNo=wish["clientPayNo"]))[1]["size"] == 1


async def test_one_bad_element_of_a_batch_has_its_own_slot(harness: PayserverHarness) -> None:
    mode = await harness.mode()
    key = await harness.account(mode, credit_fen=60)
    wishes: list[Any] = [
        on_account(mode, key, payAmount=30),
        on_account(mode, key, payAmount=0),
        on_account(mode, key, payAmount="5"),
        {
            "payModeUUID": "unknown",
            **{k: v for k, v in on_account(mode, key).items() if k != "payModeUUID"},
        },
        on_account(mode, key, payAmount=31),
        on_account(mode, key, payAmount=30),
        "not an object",
    ]
    status, answer = await harness.post("batchPay", {"batchPayData": wishes})
    slots = answer["batchPayResult"]
    assert status == 200
    assert [one["statusCode"] for one in slots] == [200, 400, 400, 500, 500, 200, 400]
    assert slots[3]["body"]["code"] == 9002
    assert [one["clientPayNo"] for one in slots[:6]] == [w["clientPayNo"] for w in wishes[:6]]
    assert await harness.balance_fen(key) == -60


@pytest.mark.alone("two seconds on one core are the promise")
async def test_a_thousand_pays_on_account_in_one_request_take_less_than_two_seconds(
    harness: PayserverHarness,
) -> None:
    mode = await harness.mode()
    key = await harness.account(mode, credit_fen=100_000)
    wishes = [on_account(mode, key, payAmount=1) for _ in range(1000)]
    began = time.perf_counter()
    status, answer = await harness.post("batchPay", {"batchPayData": wishes})
    seconds = time.perf_counter() - began
    assert status == 200
    assert {one["body"]["data"]["status"] for one in answer["batchPayResult"]} == {"payed"}
    assert [o["clientPayNo"] for o in answer["batchPayResult"]] == [
        w["clientPayNo"] for w in wishes
    ]
    assert await harness.balance_fen(key) == -1000
    tractions = {one["body"]["data"]["tractionNo"] for one in answer["batchPayResult"]}
    assert len(tractions) == 1000
    print(f"\n1000 pays: {seconds:.2f} s")
    assert seconds < 2


@pytest.mark.parametrize(
    "given",
    [
        {"payAmount": 0},
        {"payAmount": -1},
        {"payAmount": 1.5},
        {"payAmount": "50"},
        {"payAmount": None},
        {"payAmount": 2**53},
        {"payAmount": 10**30},
        {"clientPayNo": ""},
        {"clientPayNo": "x" * 65},
        {"clientPayNo": 7},
        {"clientPayNo": "a\u0000b"},
        {"payer": None},
        {"payParams": []},
        {"payParams": "x"},
        {"payParams": {"a": "x" * 9000}},
        {"clientExtraParams": 3},
    ],
    ids=str,
)
async def test_bad_input_is_refused_and_nothing_is_written(
    harness: PayserverHarness, given: dict[str, Any]
) -> None:
    mode = await harness.component_mode()
    calls, before = (
        len(harness.component.bodies),
        await harness.sql("SELECT count(1) FROM pay_order"),
    )
    status, no = await harness.post("pay", body(mode) | given)
    assert (status, list(no), no["stack"]) == (400, KEYS, "")
    assert await harness.sql("SELECT count(1) FROM pay_order") == before
    assert len(harness.component.bodies) == calls


@pytest.mark.parametrize(
    "raw",
    [
        b"{payAmount:1}",
        b"{'payAmount':1}",
        b'{"payAmount":1,}',
        b'{"payAmount":1} // x',
        b"[]",
        b"null",
        b"\xff",
        b'{"a":' * 3000,
    ],
    ids=lambda raw: str(raw[:20]),
)
async def test_only_strict_json_is_read(harness: PayserverHarness, raw: bytes) -> None:
    async with harness.http.post(f"{harness.url}/api/v1.0.0/pay", data=raw) as answer:
        no = await answer.json()
    assert (answer.status, list(no), no["code"]) == (400, KEYS, 9999)


@pytest.mark.parametrize(
    ("path", "old", "name"),
    [
        ("pay", '"payAmount":', "payAmount"),
        ("pay", '"signAccounterUUID":', "signAccounterUUID"),
        ("batchPay", '"payAmount":', "payAmount"),
        ("refund", '"refundAmount":', "refundAmount"),
        ("batchRefund", '"refundAmount":', "refundAmount"),
        ("payNotify", '"ret":', "ret"),
        ("refundNotify", '"ret":', "ret"),
        ("payModes", '"isOpened":', "isOpened"),
    ],
)
async def test_a_key_given_twice_is_refused_and_moves_nothing(
    harness: PayserverHarness, path: str, old: str, name: str
) -> None:
    mode = await harness.mode()
    key = await harness.account(mode, credit_fen=1000)
    paid = await harness.post("pay", on_account(mode, key))
    pay, traction = on_account(mode, key), paid[1]["data"]["tractionNo"]
    refund = {"payTractionNo": traction, "clientRefundNo": number("r"), "refundAmount": 2}
    notify = {"tractionNo": traction, "ret": "success"}
    bodies: dict[str, Any] = {
        "pay": pay,
        "batchPay": {"batchPayData": [pay]},
        "refund": refund,
        "batchRefund": {"batchRefundData": [refund]},
        "payNotify": notify,
        "refundNotify": notify,
        "payModes": {"isOpened": 1, "merchantUUID": mode.merchant_uuid},
    }
    raw = json.dumps(bodies[path]).replace(old, f"{old} 1, {old}")
    async with harness.http.post(f"{harness.url}/api/v1.0.0/{path}", data=raw) as answer:
        no = await answer.json()
    assert (answer.status, no["code"], list(no)) == (400, 9999, KEYS)
    assert no["message"] == f"{name} is repeated"
    assert await harness.balance_fen(key) == -50


async def test_a_mode_is_opened_closed_and_changed(harness: PayserverHarness) -> None:
    href = "http://192.168.7.188:6004/api/v1.0.0/merchants/eLzwsgnlWpZN8xtvz0qgvx"
    wish = {"merchantHref": href, "payTemplateId": MEMBER_BALANCE, "isOpened": 1}
    _, made = await harness.post("payModes", wish)
    assert made["name"] == "会员储值"
    assert made["payModeTemplate"] == {"href": None}
    status, changed = await harness.post(
        f"payModes/{made['uuid']}", {"isOpened": 0, "name": "储值"}, "PUT"
    )
    assert (status, changed["isOpened"], changed["name"]) == (200, 0, "储值")
    status, no = await harness.post("pay", {**body_of(made), "payParams": {"memberUUID": "m"}})
    assert (status, no["code"], no["name"]) == (500, 9002, " payMode  not opended")
    _, listed = await harness.get("payModes", merchantHref=href, isOpened=0)
    assert [one["uuid"] for one in listed["items"]] == [made["uuid"]]
    assert (await harness.get(f"payModes/{made['uuid']}"))[1] == listed["items"][0]


def body_of(mode: dict[str, Any]) -> dict[str, Any]:
    return {
        "payModeUUID": mode["uuid"],
        "payer": "A",
        "payee": "B",
        "payAmount": 1,
        "clientPayNo": number(),
    }


async def test_an_online_mode_without_an_address_is_refused_before_it_is_stored(
    harness: PayserverHarness,
) -> None:
    mode = await harness.mode("017AFC80-95FA-11E8-B0EC-5384BC9767FE", name="微信扫码枪")
    status, no = await harness.post("pay", body(mode))
    assert (status, no["message"]) == (500, "PayOrderBusiness->create payUrl is empty")


async def test_an_unknown_template_is_refused(harness: PayserverHarness) -> None:
    wish = {"merchantUUID": "m1", "payTemplateId": "nobody", "isOpened": 1}
    status, no = await harness.post("payModes", wish)
    start = "PayOrderBusiness->create not found payModeTemplate by !!! payTemplateId:nobody"
    assert (status, no["message"]) == (500, start)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "http://169.254.169.254/",
        "http://10.0.0.1/pay",
        "http://2130706433/",
        "http://user@127.0.0.1/",
        "http://[::ffff:10.0.0.1]/",
        "gopher://127.0.0.1/",
        "http://127.0.0.1\\@x/",
    ],
)
async def test_an_address_that_may_not_be_called_is_not_stored(
    harness: PayserverHarness, url: str
) -> None:
    for name in ("payUrl", "refundUrl", "checkEnvUrl", "queryUrl"):
        wish = {"merchantUUID": "m2", "name": "x", "isOnline": 1, "isOpened": 1, name: url}
        status, no = await harness.post("payModes", wish)
        assert (status, no["code"]) == (400, 9999)
        assert "127.0.0.1" not in no["message"]


async def test_a_secret_of_the_process_cannot_be_named_by_a_template(
    harness: PayserverHarness,
) -> None:
    wish = {"payTemplateId": "T1", "name": "x", "secretName": "SHOUDAN_PAY_DATABASE_URL"}
    assert (await harness.post("registerPayModeTemplate", wish))[0] == 400
    wish["secretName"] = "SHOUDAN_COMPONENT_X"
    status, made = await harness.post("registerPayModeTemplate", wish)
    assert status == 200
    assert "SHOUDAN_COMPONENT_X" not in str(made)


async def test_every_status_is_recorded_and_published(harness: PayserverHarness) -> None:
    mode = await harness.mode()
    key = await harness.account(mode, credit_fen=1000)
    _, paid = await harness.post("pay", on_account(mode, key))
    traction, uuid = paid["data"]["tractionNo"], paid["data"]["uuid"]
    await harness.post("refund", {"payTractionNo": traction, "clientRefundNo": number("r")})
    _, listed = await harness.get(f"payOrders/{uuid}/tradeRecords", orderBy="id asc")
    told = [(one["tradeType"], one["status"]) for one in listed["items"]]
    assert told == [
        ("pay", "unpay"),
        ("pay", "payed"),
        ("refund", "unRefund"),
        ("refund", "refunded"),
        ("pay", "refunded"),
    ]
    rows = await harness.sql(
        "SELECT subject FROM event WHERE key = :n ORDER BY event_id", n=traction
    )
    subjects = [row[0].removeprefix("shoudan.events.pay.") for row in rows]
    assert [s for s in subjects if not s.startswith("ledger")] == [
        "pay.unpay",
        "pay.payed",
        "refund.unRefund",
        "refund.refunded",
        "pay.refunded",
    ]
    posted = await harness.sql("SELECT count(1) FROM event WHERE subject LIKE '%ledger.posted'")
    assert posted[0][0] >= 2


@pytest.mark.parametrize("path", ["pay", "refund"])
async def test_a_uuid_that_would_not_be_used_is_refused(
    harness: PayserverHarness, path: str
) -> None:
    mode = await harness.component_mode()
    _, paid = await harness.post("pay", body(mode))
    asked = {
        "pay": body(mode),
        "refund": {"payTractionNo": paid["data"]["tractionNo"], "clientRefundNo": number("r")},
    }[path]
    status, no = await harness.post(path, asked | {"uuid": "eLzwsgnlWpZN8xtvz0qgvw"})
    assert status == 400
    assert "uuid" in no["message"]
    # Other members that no document names are nothing to us; null is no uuid.
    assert (await harness.post(path, asked | {"uuid": None, "another": 1}))[0] == 200
