"""Promises about what the document leaves to its reader: types, links, uuids, and what a refusal says."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_pay.payserver.numbers import new_uuid
from shoudan_pay.payserver.rules import MEMBER_PACKAGE
from tests.pay.payserver.harness import BASE, PayserverHarness, body, by_code, number, on_account
from tests.poll import eventually

CONTENT_TYPE = "application/json; charset=utf-8"


async def test_answers_say_that_they_are_utf8(harness: PayserverHarness) -> None:
    for path in ("payModes", "listAllPayModes?merchantUUID=m", "payModeTemplates", "nothing/here"):
        async with harness.http.get(f"{harness.url}/api/v1.0.0/{path}") as answer:
            assert answer.headers["Content-Type"] == CONTENT_TYPE
    async with harness.http.post(f"{harness.url}/api/v1.0.0/pay", data=b"{") as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (400, CONTENT_TYPE)


async def test_lists_and_items_show_a_pays_extra_params(harness: PayserverHarness) -> None:
    mode = await harness.mode()
    wish = on_account(mode, await harness.account(mode, credit_fen=1000))
    _, paid = await harness.post("pay", wish)
    _, listed = await harness.get("payOrders", clientPayNo=wish["clientPayNo"])
    _, item = await harness.get(f"payOrders/{paid['data']['uuid']}")
    for shown in (paid["data"], listed["items"][0], item):
        assert shown["clientExtraParams"] == wish["clientExtraParams"]
        assert shown["payParams"] == wish["payParams"]


async def test_the_link_of_a_merchant_leads_to_it(harness: PayserverHarness) -> None:
    mode = await harness.mode()
    _, shown = await harness.get(f"payModes/{mode.uuid}")
    href = shown["merchant"]["href"]
    assert href == f"{BASE}/api/v1.0.0/merchants/{mode.merchant_uuid}"
    path = urlsplit(href).path.removeprefix("/api/v1.0.0/")
    status, merchant = await harness.get(path)
    assert (status, merchant["href"], merchant["uuid"]) == (200, href, mode.merchant_uuid)
    modes = urlsplit(merchant["payModes"]["href"])
    _, listed = await harness.get("payModes", **{k: v[0] for k, v in parse_qs(modes.query).items()})
    assert [one["uuid"] for one in listed["items"]] == [mode.uuid]
    status, no = await harness.get(f"merchants/{new_uuid()}")
    assert (status, no["code"]) == (404, 1599)


async def test_a_given_uuid_is_the_one_used(harness: PayserverHarness) -> None:
    first, second = new_uuid(), new_uuid()
    template = {"payTemplateId": number("T"), "name": "x", "uuid": first}
    assert (await harness.post("registerPayModeTemplate", template))[1]["uuid"] == first
    changed = template | {"uuid": second}
    assert (await harness.post("registerPayModeTemplate", changed))[1]["uuid"] == second
    del changed["uuid"]
    assert (await harness.post("registerPayModeTemplate", changed))[1]["uuid"] == second
    wish = {"merchantUUID": "m", "name": "x", "uuid": new_uuid()}
    status, made = await harness.post("payModes", wish)
    assert (status, made["uuid"]) == (201, wish["uuid"])


async def test_a_uuid_that_cannot_be_used_is_refused(harness: PayserverHarness) -> None:
    mode = await harness.mode()
    wish = {"merchantUUID": "m", "name": "x"}
    for taken in (mode.uuid, "short", "x" * 23, "-" * 22):
        status, no = await harness.post("payModes", wish | {"uuid": taken})
        assert (status, no["message"].partition(" ")[0]) == (400, "uuid")
    status, no = await harness.post(f"payModes/{mode.uuid}", {"uuid": new_uuid()}, "PUT")
    assert (status, no["message"].partition(" ")[0]) == (400, "uuid")
    same = {"uuid": mode.uuid, "isFastPay": 0}
    assert (await harness.post(f"payModes/{mode.uuid}", same, "PUT"))[0] == 200


async def test_a_refund_in_part_of_what_comes_back_whole_says_so(harness: PayserverHarness) -> None:
    mode = await harness.mode(MEMBER_PACKAGE, name="会员储次")
    key = await harness.account(mode, groups="member")
    await harness.ledger.CreatePackage(
        pb.CreatePackageRequest(account=key, spkg_id="w", name="w", total_capacity=5)
    )
    details = [{"name": "A", "merchandiseUUID": "w", "styleUUID": "s", "count": 2.0}]
    params = {"memberUUID": key.eid, "merchandiseDetails": details}
    _, paid = await harness.post("pay", body(mode, payParams=params))
    wish = {"payTractionNo": paid["data"]["tractionNo"], "clientRefundNo": number("r")}
    status, no = await harness.post("refund", wish | {"refundAmount": 10})
    message = (
        "RefundOrderBusiness->create payOrder can only be refunded as a whole!!! refundAmount:50"
    )
    assert (status, no["code"], no["message"]) == (500, 9999, message)
    assert (await harness.post("refund", wish | {"refundAmount": 50}))[0] == 200


@pytest.mark.parametrize("amount", ["50.0", "50.00", "5e1", "50"])
async def test_a_whole_amount_may_be_written_with_a_fraction_of_zero(
    harness: PayserverHarness, amount: str
) -> None:
    mode = await harness.mode()
    wish = on_account(mode, await harness.account(mode, credit_fen=1000))
    raw = compact(wish).replace('"payAmount":50', f'"payAmount":{amount}')
    async with harness.http.post(f"{harness.url}/api/v1.0.0/pay", data=raw) as answer:
        paid = await answer.json()
    assert (answer.status, paid["data"]["payAmount"]) == (200, 50)
    assert isinstance(paid["data"]["payAmount"], int)


@pytest.mark.parametrize("amount", ["50.5", "1e300", "9007199254740992.0", "-50.0", "true"])
async def test_an_amount_that_is_no_whole_number_is_refused(
    harness: PayserverHarness, amount: str
) -> None:
    mode = await harness.mode()
    raw = compact(body(mode)).replace('"payAmount":50', f'"payAmount":{amount}')
    async with harness.http.post(f"{harness.url}/api/v1.0.0/pay", data=raw) as answer:
        assert answer.status == 400


async def test_a_component_may_give_its_numbers_as_numbers(harness: PayserverHarness) -> None:
    mode = await harness.component_mode()
    _, paid = await harness.post("pay", by_code(mode, "1015"))
    third = f"42{paid['data']['tractionNo']}"
    assert (paid["data"]["status"], paid["data"]["thirdPayNo"]) == ("payed", third)
    mode = await harness.component_mode(async_notify=True, query_url=None)
    wish = by_code(mode, "1006")
    _, paid = await harness.post("pay", wish)
    traction = paid["data"]["tractionNo"]

    async def sent() -> bool:
        return any(b["tractionNo"] == traction for b in harness.component.bodies)

    await eventually(sent)
    url = next(b["notifyUrl"] for b in harness.component.bodies if b["tractionNo"] == traction)
    told: dict[str, Any] = {
        "tractionNo": int(traction),
        "ret": "success",
        "thirdOrderNo": 4200000184201808173250265573,
        "thirdErrorReason": 0,
    }
    async with harness.http.post(url, json=told) as answer:
        assert (answer.status, await answer.text()) == (200, "true")
    _, listed = await harness.get("payOrders", clientPayNo=wish["clientPayNo"])
    assert listed["items"][0]["status"] == "payed"
    assert listed["items"][0]["thirdPayNo"] == "4200000184201808173250265573"


def compact(wish: dict[str, Any]) -> str:
    """The body without blanks."""
    return msgspec.json.encode(wish).decode()
