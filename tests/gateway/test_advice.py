"""Every error says to a machine what to do, in headers; the documented bodies know nothing of it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from grpc import StatusCode

from shoudan.core.v1 import core_pb2
from shoudan_gateway import advice, partners
from shoudan_gateway.advice import Advice
from shoudan_gateway.partners import oms
from shoudan_gateway.protocol import Endpoint, GatewayError, Inbound, Problem
from shoudan_kit.rpc.refusal import Refused

ORDER_QUERY = (
    "/order/request?channel_no=test&request_no=r1&line_id=1&carrier_no=ZSH&invoice_type=1&num=1"
    "&face=200&amount=198"
)

OUTER = {name: one for name, one in partners.load().items() if one.role not in {"internal", "test"}}


def test_every_code_of_the_gateway_and_of_the_channels_has_a_meaning() -> None:
    of_channels = {one.removeprefix(advice.PREFIX) for one in oms.REFUSALS}
    shown = of_channels - set(advice.ALIKE) | advice.codes_of_the_gateway()
    assert set(advice.MEANINGS) == shown


@pytest.mark.parametrize("reason", sorted(oms.REFUSALS))
def test_a_refusal_without_its_facts_is_worded_all_the_same(reason: str) -> None:
    """A disabled channel that asks for its prices names no face, which the text of its refusal has."""
    failure = Refused(StatusCode.FAILED_PRECONDITION, "order.shoudan", reason)
    answer = oms.refuse(failure, Inbound("GET", "/product/list", {"channel_no": "mine"}), False)
    code, status, _ = oms.REFUSALS[reason]
    assert isinstance(answer.body, dict)
    assert (answer.status, answer.body["code"]) == (status, code)
    assert "{" not in answer.body["data"]


@pytest.mark.parametrize("field", ["page_token", "page"])
def test_a_page_that_is_none_is_named_as_the_channel_named_it(field: str) -> None:
    facts = {"field": field, "why": "not given by the page before"}
    failure = Refused(
        StatusCode.INVALID_ARGUMENT, "order.shoudan", "ERROR_REASON_FIELD_INVALID", facts
    )
    answer = oms.refuse(failure, Inbound("GET", "/order/list", {"page": "x"}), False)
    assert isinstance(answer.body, dict)
    assert answer.body["message"] == "输入参数有误:page 应为上一页返回的next_page"


def test_what_is_refused_in_the_same_words_has_the_same_code() -> None:
    codes: dict[str, set[str]] = {}
    for reason, (_, _, text) in oms.REFUSALS.items():
        failure = Refused(StatusCode.FAILED_PRECONDITION, "order.shoudan", reason)
        codes.setdefault(text, set()).add(advice.facts_of(failure).code)
    for error, text in oms.GATEWAY_ERRORS.items():
        codes.setdefault(text, set()).add(advice.facts_of(Problem(error)).code)
    assert {text: found for text, found in codes.items() if len(found) > 1} == {}


def test_what_may_have_happened_is_never_to_be_given_up() -> None:
    unknown = {GatewayError.NO_ANSWER, GatewayError.BROKEN}
    for error in GatewayError:
        found = advice.facts_of(Problem(error)).advice
        assert (found is Advice.ASK) == (error in unknown), error


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        (StatusCode.ALREADY_EXISTS, Advice.OTHER_NUMBER),
        (StatusCode.RESOURCE_EXHAUSTED, Advice.REPEAT),
        (StatusCode.UNAVAILABLE, Advice.ASK),
        (StatusCode.FAILED_PRECONDITION, Advice.NEVER),
        (StatusCode.NOT_FOUND, Advice.NEVER),
    ],
)
def test_a_refusal_without_a_meaning_is_judged_by_its_status(
    code: StatusCode, wanted: Advice
) -> None:
    failure = Refused(code, "pay.shoudan", "ERROR_REASON_SOMETHING_OF_PAY")
    found = advice.facts_of(failure)
    assert (found.code, found.advice) == ("REFUSED", wanted)
    assert advice.headers(found)["Link"] == '</docs/errors.md#codes>; rel="help"'


async def test_a_refused_order_says_what_to_do(open_gateway: Any) -> None:
    front = await open_gateway()
    front.order.refusal = core_pb2.Refusal(
        code=StatusCode.ALREADY_EXISTS.value[0],
        domain="order.shoudan",
        reason="ERROR_REASON_REQUEST_DIFFERS",
    )
    async with front.http.get(front.url + ORDER_QUERY) as answer:
        body = await answer.json()
        assert (answer.status, body["code"]) == (409, 409)
        assert set(body) == {"code", "message", "data"}
        assert answer.headers["X-Error-Code"] == "REQUEST_DIFFERS"
        assert answer.headers["X-Error-Advice"] == "other-number"
        link = answer.headers["Link"]
        assert answer.headers["X-Request-Id"]
        assert "Idempotent-Replayed" not in answer.headers
    found = re.fullmatch(r'<(/docs/errors\.md)#(\w+)>; rel="help"', link)
    assert found is not None
    async with front.http.get(front.url + found[1]) as page:
        assert page.content_type == "text/markdown"
        assert f'<a id="{found[2]}">' in await page.text()


async def test_a_repeat_says_that_it_is_one(open_gateway: Any) -> None:
    front = await open_gateway()
    for existed in (False, True):
        front.order.existed = existed
        async with front.http.get(front.url + ORDER_QUERY) as answer:
            assert answer.status == 200
            assert answer.headers.get("Idempotent-Replayed") == ("true" if existed else None)
            assert "X-Error-Code" not in answer.headers


@pytest.mark.parametrize("name", OUTER)
async def test_every_protocol_says_it_whatever_its_bodies_look_like(
    open_gateway: Any, name: str
) -> None:
    front = await open_gateway()
    endpoint = next(one for one in OUTER[name].endpoints if isinstance(one, Endpoint))
    url = front.url + re.sub(r"\{\w+\}", "10", endpoint.path) + "?zz=%ff"
    async with front.http.request("DELETE", url) as answer:
        assert answer.headers["X-Error-Code"] == "METHOD_REFUSED"
        assert answer.headers["X-Error-Advice"] == "never"
    async with front.http.get(front.url + "/nothing/here") as answer:
        assert answer.headers["X-Error-Code"] == "PATH_UNKNOWN"
