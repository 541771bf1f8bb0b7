"""Promises of the customer's 002 cases: every request as written gets the documented answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from shoudan_pay.payserver.rules import SIGN_ACCOUNT
from tests.conformance import Matching, cases
from tests.pay.payserver.harness import BASE, PayserverHarness, by_code

CASES = cases("002")
# The lists allow these keys beside those shown.
MATCHING = Matching(BASE, in_order=True, extra=frozenset({"payModeTemplate", "iconHref"}))
WECHAT = "017AFC80-95FA-11E8-B0EC-5384BC9767FE"
CASH = "C924182F-581B-4990-944A-ABCAB8E552B3"
ELZW, MI2N, TA82 = "eLzwsgnlWpZN8xtvz0qgvw", "mI2NDMoQRdnKCq01hAsLwQ", "82TaIejHrZp4aHaM9hG2DQ"
MODE, BATCH_MODE = "zDP19DCUpEl8qzNIkLwOjQ", "qef9X3CqNClIWrU8kBV5cw"

Prepare = Callable[[PayserverHarness, Any], Awaitable[Any]]


async def nothing(harness: PayserverHarness, case: Any) -> Any:
    return case


async def modes_of_mi2n(harness: PayserverHarness, case: Any) -> Any:
    """Its 挂账 mode; and a template as the sample of the list has it, 银联 under 现金's number."""
    link = f"http://192.168.7.188:6005/api/v1.0.0/shops/{MI2N}"
    have = await harness.get("payModes", merchantHref=link)
    if not have[1]["size"]:
        wish = {"merchantHref": link, "payTemplateId": SIGN_ACCOUNT}
        await harness.post("payModes", {**wish, "isOpened": 1, "uiOrder": 3, "isFastPay": 1})
    template = {"payTemplateId": CASH, "name": "银联", "description": "银联支付", "checkEnvUrl": ""}
    await harness.post("registerPayModeTemplate", template)
    return case


async def refusing_environment(harness: PayserverHarness, case: Any) -> Any:
    harness.component.environment = {"ret": False, "merchantUUID": "87TaIejHrZp4aHaM9hG2DQ"}
    template = {"payTemplateId": WECHAT, "name": "微信扫码枪", "isOnline": 1}
    template["checkEnvUrl"] = f"{harness.component.url}/checkEnv"
    await harness.post("registerPayModeTemplate", template)
    return case


async def open_mode(harness: PayserverHarness, case: Any) -> Any:
    await harness.component_mode(uuid=MODE, merchant=ELZW, name="挂账")
    return case


async def closed_mode(harness: PayserverHarness, case: Any) -> Any:
    await harness.component_mode(uuid=MODE, merchant=ELZW, name="挂账", opened=False)
    return case


async def refunded_order(harness: PayserverHarness, case: Any) -> Any:
    """The sample's order: paid by 微信扫码枪 and refunded."""
    link = f"http://192.168.7.188:6005/api/v1.0.0/shops/{TA82}"
    mode = await harness.component_mode(merchant=TA82, channel="微信", way="扫码枪")
    wish = by_code(mode, "", payAmount=1, clientPayNo="201808161002", payee=link)
    wish["payParams"] = {"payBarCode": "135026070990636151"}
    _, paid = await harness.post("pay", wish)
    number = paid["data"]["tractionNo"]
    await harness.post("refund", {"payTractionNo": number, "clientRefundNo": "T201808161002"})
    await harness.sql(
        "UPDATE pay_order SET third_pay_no = :third, template_id = :template WHERE traction_no = :n",
        third="4200000162201808163428659816",
        template=WECHAT,
        n=number,
    )
    return case


async def payed_order(harness: PayserverHarness, case: Any) -> Any:
    """The order of 002-pay-sync under the number that the case quotes."""
    await open_mode(harness, case)
    sync = CASES["002-pay-sync"]
    await harness.post("pay", json.loads(sync["body_raw"]))
    await harness.sql(
        "UPDATE pay_order SET traction_no = :n WHERE client_pay_no = '201807120130'",
        n="1531367230400202",
    )
    return case


async def batch_mode(harness: PayserverHarness, case: Any) -> Any:
    mode = await harness.mode(uuid=BATCH_MODE, merchant=TA82)
    await harness.account(mode, "LyWGmvRHlDsH4zYqvND2Gg", credit_fen=1000)
    return case


async def paid_batch(harness: PayserverHarness, case: Any) -> Any:
    """The case with the numbers its two pays have here."""
    await batch_mode(harness, case)
    _, paid = await harness.post("batchPay", json.loads(CASES["002-batchPay"]["body_raw"]))
    raw = case["body_raw"]
    for sample, slot in zip(
        ("1539669840030298", "1539669840040491"), paid["batchPayResult"], strict=True
    ):
        raw = raw.replace(sample, slot["body"]["data"]["tractionNo"])
    return case | {"body_raw": raw}


PREPARE: dict[str, Prepare] = {
    "002-registerPayModeTemplate": nothing,
    "002-payModeTemplates": nothing,
    "002-payModes-list": modes_of_mi2n,
    "002-payModes-create": nothing,
    "002-payModes-9001": refusing_environment,
    "002-listAllPayModes": modes_of_mi2n,
    "002-pay-sync": open_mode,
    "002-pay-9002": closed_mode,
    "002-payOrders-query": refunded_order,
    "002-batchPay": batch_mode,
    "002-refund": payed_order,
    "002-batchRefund": paid_batch,
}


@pytest.fixture(autouse=True)
async def as_it_was(harness: PayserverHarness) -> AsyncIterator[None]:
    """The cases quote fixed numbers, so each begins with no order; templates are as built in."""
    yield
    await harness.sql("TRUNCATE pay_order, refund_order, trade_record, pay_mode")
    harness.component.environment = {"ret": True}
    template = {"payTemplateId": WECHAT, "name": "微信扫码枪", "checkEnvUrl": "", "isOnline": 1}
    await harness.post("registerPayModeTemplate", template)


def test_every_case_is_driven() -> None:
    inward = {name for name, case in CASES.items() if case["direction"].startswith("in")}
    assert set(PREPARE) == inward


@pytest.mark.parametrize("name", PREPARE)
@pytest.mark.parametrize("prefix", ["", "/payServer"])
async def test_the_documented_request_gets_the_documented_answer(
    harness: PayserverHarness, name: str, prefix: str
) -> None:
    case = await PREPARE[name](harness, CASES[name])
    wanted: Any = case["expect"]["json"]
    if "stack" in wanted:
        # The case's matcher is $str; what the error body must have is an empty stack.
        wanted = wanted | {"stack": ""}
    query = f"?{case['query']}" if "query" in case else ""
    url = f"{harness.url}{prefix}{case['path']}{query}"
    data = case.get("body_raw", "").encode() or None
    async with harness.http.request(case["method"], url, data=data) as answer:
        got = await answer.json()
        assert answer.status == case["expect"]["status"], got
        assert answer.content_type == case["expect"]["content_type"]
    if name == "002-payModes-create":
        wanted = as_in_the_seed(wanted)
    if name == "002-payModeTemplates":
        got = one_template(got)
    assert MATCHING.unfit(wanted, got) == []


def as_in_the_seed(wanted: Any) -> Any:
    """The case has the keys of a list's item; the seed's own reply has payTemplateId behind merchantUUID."""
    rest = {name: one for name, one in wanted.items() if name != "payTemplateId"}
    at = list(rest).index("merchantUUID") + 1
    pairs = list(rest.items())
    return dict([*pairs[:at], ("payTemplateId", wanted["payTemplateId"]), *pairs[at:]])


def one_template(got: Any) -> Any:
    """The sample shows 挂账; the others have the same keys in the same order."""
    keys = [list(item) for item in got["items"]]
    assert keys == [keys[0]] * 7
    chosen = [item for item in got["items"] if item["payTemplateId"] == SIGN_ACCOUNT]
    return got | {"items": chosen, "limit": len(chosen)}


async def test_what_a_component_is_sent_and_answers_is_the_documented_contract(
    harness: PayserverHarness,
) -> None:
    mode = await harness.component_mode()
    pay, refund = CASES["002-component-pay"], CASES["002-component-refund"]
    sample = json.loads(pay["body_raw"])
    wish = {n: sample[n] for n in ("payer", "payee", "payAmount", "clientPayNo", "payParams")}
    wish |= {"payModeUUID": mode.uuid, "clientExtraParams": sample["clientExtraParams"]}
    _, paid = await harness.post("pay", wish)
    times = dict.fromkeys(("orderStartAt", "orderExpiredAt", "payStartAt"), "$dt")
    times["notifyUrl"] = "$href"  # in synchronous modes, too: an answer may come late
    assert MATCHING.unfit(sample | times, harness.component.bodies[-1]) == []
    # The component finished at 2018-9-10 12:00:00, which is stored padded.
    assert paid["data"]["payFinishAt"] == "2018-09-10 12:00:00"
    sample = json.loads(refund["body_raw"])
    number, extra = paid["data"]["tractionNo"], sample["clientExtraParams"]
    wish = {"payTractionNo": number, "clientRefundNo": "T20180919", "refundAmount": 1}
    await harness.post("refund", wish | {"clientExtraParams": extra})
    known = {
        "payTractionNo": number,
        "thirdPayNo": paid["data"]["thirdPayNo"],
        "payee": paid["data"]["payee"],
        "payAmount": 50,
        "notifyUrl": "$href",
    }
    known["clientExtraParams"] = sample.pop("clientExtraParams")
    assert MATCHING.unfit(sample | known, harness.component.bodies[-1]) == []
