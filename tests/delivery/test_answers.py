"""Shapes suppliers answer in: what has one meaning is read, what could have two is unknown, never failed."""

import json
from typing import Any

import pytest

from shoudan_delivery import interpret
from shoudan_delivery.protocols import PROTOCOLS, InboundNotify, Unverified
from shoudan_delivery.protocols.default import signature
from shoudan_delivery.states import DealCode, Source
from shoudan_delivery.store.rows import Outcome, Outgoing, Supplier, Verdict
from shoudan_kit.http.client import Answered

SUPPLIER = Supplier(
    1, "up", 10, "default", "http://a", "", "", 1, 1, 1, True, True, False, 1, 1.0, "",
    deal_codes={"0": DealCode.SUCCESS, "1": DealCode.FAILURE, "-1": DealCode.UNKNOWN},
)  # fmt: skip
DELIVERY_7 = Outgoing(
    7, "down", "1", "1", "up", 10, "ZSH", 50_000_000, 2, "1", "", 0.0, overdue=False
)
GOOD: dict[str, Any] = {"order_no": "7", "code": "0", "amount": "100", "message": "充值成功"}
TEXT = json.dumps(GOOD, ensure_ascii=False)
CARD = {"card_no": "12", "pin": "ab"}


def judged(body: bytes, content_type: str = "application/json", status: int = 200) -> Outcome:
    http_result = Answered(status, {"Content-Type": content_type}, body)
    return interpret.of_http_result(
        SUPPLIER, PROTOCOLS["default"], DELIVERY_7, http_result, Source.SYNC
    )


def of(value: Any) -> Outcome:
    return judged(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", TEXT.encode()),
        ("application/json; charset=UTF-8", TEXT.encode()),
        ("text/html; charset=utf-8", b"\r\n " + TEXT.encode() + b"\n"),
        ("text/plain", TEXT.encode()),
        ("", TEXT.encode()),
        ("application/json; charset=GBK", TEXT.encode("gbk")),
        ("text/html;charset='gb2312'", TEXT.encode("gbk")),
        ("application/json; charset=gb18030", TEXT.encode("gb18030")),
        ("application/json", TEXT.encode("gbk")),
        ("application/json; charset=utf-8", TEXT.encode("gbk")),
        ("application/json; charset=iso-8859-1", TEXT.encode()),
        ("application/json; charset=zlib", TEXT.encode()),
        ("application/json", TEXT.encode("utf-8-sig")),
        ("application/json; charset=gbk", TEXT.encode("utf-8-sig")),
        ("application/json; charset=utf-16", TEXT.encode("utf-16")),
        ("application/json; charset=utf-16le", TEXT.encode("utf-16-le")),
        ("application/json", json.dumps(GOOD).encode()),  # escapes
    ],
)
def test_the_charset_is_as_marked_or_named_or_tried(content_type: str, body: bytes) -> None:
    found = judged(body, content_type)
    assert (found.verdict, found.desc) == (Verdict.SUCCEEDED, "充值成功")


@pytest.mark.parametrize(
    ("value", "params"),
    [
        (GOOD | {"code": 0}, {}),
        (GOOD | {"order_no": 7}, {}),
        (GOOD | {"amount": 100}, {}),
        (GOOD | {"amount": 100.0}, {}),
        (GOOD | {"amount": "100.00"}, {}),
        (GOOD | {"message": None, "up_order_no": None}, {}),
        (GOOD | {"message": {"text": "ok"}}, {}),
        (GOOD | {"data": None}, {}),
        (GOOD | {"data": ""}, {}),
        (GOOD | {"data": []}, {}),
        (GOOD | {"data": {}}, {}),
        (GOOD | {"data": "8001"}, {"data": "8001"}),
        (GOOD | {"data": 8001}, {"data": "8001"}),
        (GOOD | {"data": CARD | {"n": 3, "none": None}}, CARD | {"n": "3"}),
        (GOOD | {"data": [CARD]}, CARD),
        (GOOD | {"data": [CARD, CARD]}, {f"{n}.{k}": v for n in (1, 2) for k, v in CARD.items()}),
        (GOOD | {"data": {"card": CARD}}, {f"card.{k}": v for k, v in CARD.items()}),
        (GOOD | {"data": {"code": "9", "order_no": "8"}}, {"code": "9", "order_no": "8"}),
        ([GOOD], {}),
        ({"code": 0, "message": "充值成功", "data": {"order_no": "7", "amount": "100"}}, {}),
        ({"code": 0, "data": [{"order_no": 7, "code": "0", "amount": "100", **CARD}]}, CARD),
        ({"success": True, "data": GOOD}, {}),
        ({"order_no": None, "code": None, "data": GOOD}, {}),
    ],
)
def test_an_answer_with_one_meaning_is_read(value: Any, params: dict[str, str]) -> None:
    found = of(value)
    assert (found.verdict, dict(found.params), found.incident) == (Verdict.SUCCEEDED, params, "")


@pytest.mark.parametrize("code", [1, "1"])
def test_a_listed_failure_is_one_in_either_spelling(code: Any) -> None:
    assert of({"order_no": "7", "code": code, "data": None}).verdict is Verdict.FAILED


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"success"',
        b"<html>busy</html>",
        b"<xml><code>1</code></xml>",
        b'callback({"order_no":"7","code":"1"})',
        b"order_no=7&code=1",
        b'{"order_no":"7","code":"1"} {"order_no":"7","code":"0"}',
        b'{"order_no":"7","code":"1"',
        b'{"order_no":"7","code":"1","code":"0"}',
        b'{"order_no":"7","code":"0","c\\u006fde":"1"}',
        b'{"order_no":"7","code":"1","order_no":"8"}',
        b'{"order_no":"7","code":"0","amount":"99","amount":"100"}',
        b'{"order_no":"7"}',
        b'{"order_no":"7","code":null}',
        b'{"order_no":"7","code":""}',
        b'{"order_no":"7","code":{"value":1}}',
        b'{"order_no":"7","code":[1]}',
        b'{"order_no":"7","code":true}',
        b'{"order_no":"7","code":1.0}',
        b'{"order_no":"7","code":"01"}',
        b'{"order_no":"7","code":NaN}',
        b'{"order_no":"07","code":"1"}',
        b'{"order_no":7.0,"code":"1"}',
        b'{"order_no":"8","code":"1"}',
        b'{"code":"1"}',
        b'{"code":"1","data":null}',
        b'{"code":"0","data":{"order_no":"7","code":"1","amount":"100"}}',
        b'{"code":"1","data":[{"order_no":"7","code":"1"},{"order_no":"7","code":"0"}]}',
        b'[{"order_no":"7","code":"1"},{"order_no":"7","code":"0"}]',
        b'{"order_no":"7","code":"0","amount":"1e2"}',
        b'{"order_no":"7","code":"0","amount":-100}',
        b'{"order_no":"7","code":"0","amount":null}',
        b'{"order_no":"7","code":"0","amount":"100","data":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"order_no":"7","code":"0","amount":' + b"1" * 5_000 + b"}",
        b'{"order_no":"7","code":"1","message":"\x81"}',
        b"\xff\xfe{",
    ],
    ids=lambda body: repr(body[:40]),
)
def test_an_answer_that_could_mean_two_things_is_unknown_and_never_failed(body: bytes) -> None:
    assert judged(body).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("status", [201, 204, 302, 400, 404, 429, 500, 502])
def test_an_answer_of_another_status_is_unknown_whatever_it_says(status: int) -> None:
    body = b'{"order_no":"7","code":"1"}'
    assert judged(body, status=status).verdict is Verdict.UNKNOWN


def test_half_a_character_is_stored_as_none() -> None:
    body = b'{"order_no":"7","code":"0","amount":"100","message":"\\ud83d","data":{"a":"\\udc00"}}'
    found = judged(body)
    assert found.verdict is Verdict.SUCCEEDED
    assert (found.desc + found.params["a"]).encode() == b"??"


def test_a_signed_notify_is_verified_as_it_is_written() -> None:
    secret = b"s3cret"
    supplier = Supplier(
        1, "up", 10, "default", "http://a", "", "", 1, 1, 1, True, True, False, 1, 1.0, "k",
        deal_codes=SUPPLIER.deal_codes, secret=secret,
    )  # fmt: skip
    fields = {"order_no": "7", "code": "0", "amount": "100.00", "channel_no": "up", "message": ""}
    sign = signature(fields, secret)
    body = (
        b'{"order_no":7,"code":0,"amount":100.00,"channel_no":"up","message":null,"sign":"%s"}'
        % sign.encode()
    )
    notify = InboundNotify("POST", "", body, {}, "127.0.0.1")
    reply = PROTOCOLS["default"].read_notify(supplier, notify)
    assert not isinstance(reply, Unverified)
    assert (reply.code, reply.amount_micros) == ("0", 100_000_000)
    changed = InboundNotify("POST", "", body.replace(b"100.00", b"100.01"), {}, "127.0.0.1")
    assert isinstance(PROTOCOLS["default"].read_notify(supplier, changed), Unverified)
