"""The example pairs of the documented HTTP interface, driven over HTTP; conformance.json holds them."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import pytest

from tests.conformance import Matching, cases
from tests.poll import eventually

pytestmark = pytest.mark.system

CASES = cases("000")
EXAMPLE = "000-order-request"


async def drive(partner: Any, name: str, **changed: str) -> None:
    """Send the case, its numbers changed where the run needs its own, and compare the answer."""
    case = CASES[name]
    params = {**dict(parse_qsl(case["query"])), **changed}
    status, body = await partner.get(case["path"], **params)
    expected = {key: changed.get(key, value) for key, value in case["expect"]["json"].items()}
    assert status == case["expect"]["status"], body
    assert Matching().unfit(expected, body) == []


async def ordered(partner: Any, **changed: str) -> str:
    number = partner.number()
    status, body = await partner.order(request_no=number, **changed)
    assert status == 200, body
    await partner.all_ended(number, 1)
    return number


async def test_the_example_order_is_taken_verbatim(partner) -> None:
    """Its notify_url leads to a stranger's host, so only the answer counts."""
    case = CASES[EXAMPLE]
    query = case["query"].replace("test1200001", partner.number())
    async with partner.http.get(f"{partner.system.gateway_url}{case['path']}?{query}") as answer:
        body = await answer.json()
        assert answer.status == 200
        assert answer.content_type == case["expect"]["content_type"]
    expected = {**case["expect"]["json"], "request_no": body["request_no"]}
    assert Matching().unfit(expected, body) == []


@pytest.mark.parametrize(
    "name", ["000-order-request-badface", "000-order-request-missing", "000-order-query-none"]
)
async def test_a_refusal_is_worded_as_documented(partner, name) -> None:
    await drive(partner, name)


async def test_a_missing_parameter_is_told_in_the_documented_words(partner) -> None:
    case = CASES["000-order-request-missing"]
    _, body = await partner.get(case["path"], **dict(parse_qsl(case["query"])))
    assert body["message"].startswith("输入参数有误")


async def test_a_delivered_order_is_queried(partner) -> None:
    await drive(partner, "000-order-query", request_no=await ordered(partner))


async def test_a_general_refund_runs_and_is_told_done(partner) -> None:
    number, refund_no = await ordered(partner), f"r{partner.number()}"
    inbox = f"{partner.system.sandbox_url}/inbox/refund"
    keys = {"request_no": number, "refund_no": refund_no}
    await drive(partner, "000-refund-general", **keys, notify_url=inbox)

    async def told() -> bool:
        _, body = await partner.get("/refund/query", channel_no="test", **keys)
        return body.get("status") != 30

    await eventually(told, 30, every_s=0.05)
    await drive(partner, "000-refund-query", **keys)
    await partner.ledger_is_whole()


async def test_a_mandatory_refund_needs_no_refundable_product(partner) -> None:
    phone = {"line_id": "3", "carrier_no": "YD", "face": "50", "amount": "49.5"}
    number = await ordered(partner, **phone)
    keys = {"request_no": number, "refund_no": f"r{partner.number()}"}
    await drive(partner, "000-refund-mandatory", **keys)


async def test_a_refund_of_nothing_is_refused_as_documented(partner) -> None:
    await drive(partner, "000-refund-general-err1", request_no="nope")


async def test_a_product_that_takes_no_refund_says_so(partner) -> None:
    phone = {"line_id": "3", "carrier_no": "YD", "face": "50", "amount": "49.5"}
    await drive(partner, "000-refund-general-err4", request_no=await ordered(partner, **phone))
