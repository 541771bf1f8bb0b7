"""ChinaUMS's server side: who may ask, what a wrong proof is told, how refunds of ours read."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime
from typing import Any

import pytest

from shoudan_kit.http.client import HttpClient
from shoudan_pay.chinaums import protocol
from shoudan_pay.chinaums.protocol import Access, Meaning, State, UmsAnswer
from shoudan_signing import open_access_token, open_body_sig
from tests.pay.payserver.harness import number
from tests.pay.platforms.harness import (
    APP_ID,
    APP_KEY,
    MID,
    TID,
    PlatformsHarness,
    body_sig,
    encoded,
)
from tests.stored import Stored

PATH = "/v1/netpay/refund-query"
REFUSED = (412, {"errCode": "1000", "errInfo": "认证失败"})
ASKED: dict[str, Any] = {
    "requestTimestamp": "2022-04-15 10:47:59",
    "merOrderId": "r-shown",
    "instMid": "APPDEFAULT",
    "mid": MID,
    "tid": TID,
}
FIELDS = 29  # of the answer in 003, without msgId and srcReserve, which are echoed


@pytest.fixture(scope="module")
async def refunded(harness: PlatformsHarness) -> dict[str, Any]:
    """A 银联 refund that ChinaUMS has made."""
    mode = await harness.union_pay()
    await harness.app(mode.merchant_uuid)
    await harness.app(mode.merchant_uuid, app_id="off", enabled=False)
    await harness.app(number("m"), app_id="other", secret_name="ums-other", mid="8983", tid="1")
    await harness.app(mode.merchant_uuid, app_id="no-secret", secret_name="nowhere")
    pay = await harness.paid(mode, payAmount=12_400, clientPayNo="p-shown")
    refund = await harness.refund(pay, clientRefundNo="r-shown")
    await harness.becomes("refund_order", "client_refund_no", "r-shown", "refunded")
    return refund | {"mode": mode, "pay": pay}


async def test_every_documented_field_is_answered(
    harness: PlatformsHarness, refunded: dict[str, Any]
) -> None:
    status, answer = await harness.ask("r-shown", srcReserve="C1")
    assert status == 200
    assert len(answer) == FIELDS + 2
    assert (answer["msgId"], answer["srcReserve"]) == ("m1", "C1")
    assert answer["refundStatus"] == "SUCCESS"
    assert (answer["merOrderId"], answer["refundOrderId"]) == ("p-shown", "r-shown")
    assert (answer["totalAmount"], answer["refundFunds"]) == ("12400", "现金:12400")
    assert answer["status"] == "TRADE_SUCCESS"
    assert all(isinstance(value, str) for value in answer.values())


async def test_the_time_and_the_day_are_those_of_the_payment(
    harness: PlatformsHarness, refunded: dict[str, Any]
) -> None:
    await harness.payserver.sql(
        "UPDATE pay_order SET finish_time = '2022-04-14 23:47:59+08' WHERE traction_no = :number",
        number=refunded["pay"]["tractionNo"],
    )
    await harness.payserver.sql("UPDATE ums_refund SET detail = ''")
    _, answer = await harness.ask("r-shown")
    assert (answer["payTime"], answer["settleDate"]) == ("2022-04-14 23:47:59", "2022-04-14")


async def test_a_refund_is_found_by_any_of_its_numbers(
    harness: PlatformsHarness, refunded: dict[str, Any]
) -> None:
    (theirs,) = await harness.payserver.sql("SELECT refund_order_id FROM ums_refund LIMIT 1")
    numbers = ["p-shown", refunded["tractionNo"], refunded["pay"]["tractionNo"], theirs[0]]
    answers = [await harness.ask(one) for one in numbers]
    assert {answer["refundOrderId"] for _, answer in answers} == {"r-shown"}


async def test_card_numbers_are_masked(harness: PlatformsHarness, refunded: dict[str, Any]) -> None:
    async def told() -> str:
        return (await harness.ask("r-shown"))[1]["bankCardNo"]

    # The fake told 6222021234567890123 when it was asked; a refund ended at once is not asked about.
    rows = await harness.payserver.sql("SELECT detail FROM ums_refund")
    assert all("6222021234567890123" not in row[0] for row in rows)
    assert await told() in {"", "622202*********0123"}


WRONG = {
    "no header": lambda raw: None,
    "no scheme": lambda raw: "x",
    "another scheme": lambda raw: body_sig(raw).replace("OPEN-BODY-SIG", "OPEN-BODY-SIGN"),
    "other bytes": lambda raw: body_sig(raw + b" "),
    "another key": lambda raw: body_sig(raw, key="no"),
    "unknown appId": lambda raw: body_sig(raw, app_id="nobody"),
    "disabled appId": lambda raw: body_sig(raw, app_id="off"),
    "appId without a secret": lambda raw: body_sig(raw, app_id="no-secret"),
    "another's key": lambda raw: body_sig(raw, app_id="other"),
    "too old": lambda raw: body_sig(raw, late_s=301),
    "from the future": lambda raw: body_sig(raw, late_s=-330),
    "changed nonce": lambda raw: body_sig(raw, nonce="a" * 32).replace("a" * 32, "b" * 32),
    "no nonce": lambda raw: body_sig(raw, nonce="a" * 32).replace("a" * 32, ""),
    "bytes that are no UTF-8": lambda raw: body_sig(raw) + "\xff",
    "a token nobody has": lambda raw: 'OPEN-ACCESS-TOKEN AccessToken="0123456789abcdef"',
}


@pytest.mark.parametrize("why", WRONG)
async def test_a_wrong_proof_is_told_nothing_more(
    harness: PlatformsHarness, refunded: dict[str, Any], why: str
) -> None:
    raw = encoded(ASKED)
    assert await harness.send(PATH, raw, WRONG[why](raw)) == REFUSED


async def test_a_time_that_cannot_be_read_is_said_as_the_real_gateway_says_it(
    harness: PlatformsHarness, refunded: dict[str, Any]
) -> None:
    raw = encoded(ASKED)
    header = open_body_sig.header(APP_ID, APP_KEY, "20221345000000", "n" * 32, raw)
    status, answer = await harness.send(PATH, raw, header)
    assert (status, answer) == (412, {"errCode": "1000", "errInfo": "Timestamp解析失败"})


async def test_a_nonce_counts_once_however_many_come_at_the_same_time(
    harness: PlatformsHarness, refunded: dict[str, Any]
) -> None:
    raw = encoded(ASKED)
    header = body_sig(raw)
    answers = await asyncio.gather(*(harness.send(PATH, raw, header) for _ in range(30)))
    assert sorted(status for status, _ in answers) == [200] + [412] * 29


async def test_a_wrong_signature_does_not_use_the_nonce_up(
    harness: PlatformsHarness, refunded: dict[str, Any]
) -> None:
    raw, nonce = encoded(ASKED), secrets.token_hex(16)
    assert (await harness.send(PATH, raw, body_sig(raw, nonce=nonce, key="no")))[0] == 412
    assert (await harness.send(PATH, raw, body_sig(raw, nonce=nonce)))[0] == 200


@pytest.mark.parametrize(
    "given",
    [
        {"merOrderId": "r-nobody"},
        {"mid": "8983"},
        {"tid": "00000001"},
    ],
)
async def test_what_is_not_the_callers_is_no_order(
    harness: PlatformsHarness, refunded: dict[str, Any], given: dict[str, str]
) -> None:
    raw = encoded(ASKED | given)
    status, answer = await harness.send(PATH, raw, body_sig(raw))
    assert (status, answer["errCode"]) == (200, "NO_ORDER")


async def test_a_foreign_refund_is_told_like_none(
    harness: PlatformsHarness, refunded: dict[str, Any]
) -> None:
    told: list[dict[str, Any]] = []
    for name in ("r-shown", "r-nobody"):
        raw = encoded(ASKED | {"merOrderId": name, "mid": "8983", "tid": "1"})
        header = body_sig(raw, app_id="other", key="another-key")
        told.append((await harness.send(PATH, raw, header))[1] | {"responseTimeStamp": ""})
    assert told[0] == told[1]
    assert told[0]["errCode"] == "NO_ORDER"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{",
        b'{"merOrderId":1e400}',
        encoded(ASKED | {"merOrderId": ["r-shown"]}),
        encoded(ASKED | {"merOrderId": "r" * 65}),
        encoded({"merOrderId": "r-shown"}),
        b'{"merOrderId":"\xff"}',
        b'{"merOrderId":"\\ud800"}',
        encoded(ASKED)[:-1] + b',"mid":"2"}',
    ],
)
async def test_a_malformed_body_is_judged_after_its_signature(
    harness: PlatformsHarness, refunded: dict[str, Any], raw: bytes
) -> None:
    assert await harness.send(PATH, raw, body_sig(raw, key="no")) == REFUSED
    status, answer = await harness.send(PATH, raw, body_sig(raw))
    assert (status, answer["errCode"]) == (200, "BAD_REQUEST")


async def test_a_refund_on_its_way_is_processing_then_success(
    harness: PlatformsHarness, refunded: dict[str, Any]
) -> None:
    pay = await harness.paid(refunded["mode"], payAmount=100)
    harness.ums.script.questions = 2
    refund = await harness.refund(pay)
    harness.ums.script.questions = 0
    seen = [(await harness.ask(refund["clientRefundNo"]))[1]["refundStatus"]]
    await harness.becomes("refund_order", "traction_no", refund["tractionNo"], "refunded")
    answer = (await harness.ask(refund["clientRefundNo"]))[1]
    assert [*seen, answer["refundStatus"]] == ["PROCESSING", "SUCCESS"]
    # What ChinaUMS told of it when it was asked.
    assert (answer["yxlmAmount"], answer["targetSys"]) == ("5", "WXPay")
    assert answer["bankCardNo"] == "622202*********0123"


async def token(
    harness: PlatformsHarness, *, key: str = APP_KEY, method: str = "SHA256", **given: str
) -> Any:
    stamp, nonce = open_body_sig.stamp(datetime.now(UTC)), secrets.token_hex(16)
    members = {
        "appId": APP_ID,
        "timestamp": stamp,
        "nonce": nonce,
        "signMethod": method,
        "signature": open_access_token.sign(APP_ID, key, stamp, nonce, method),
    }
    return await harness.send("/v1/token/access", encoded(members | given), None)


@pytest.mark.parametrize("method", ["SHA256", ""])
async def test_a_token_stands_for_a_signature(
    harness: PlatformsHarness, refunded: dict[str, Any], method: str
) -> None:
    status, answer = await token(harness, method=method)
    assert (status, answer["errCode"], answer["expiresIn"]) == (200, "0000", 3600)
    header = open_access_token.header(answer["accessToken"])
    for _ in range(2):  # unlike a nonce it counts for an hour
        assert (await harness.send(PATH, encoded(ASKED), header))[0] == 200


@pytest.mark.parametrize(
    "given",
    [{"key": "no"}, {"appId": "nobody"}, {"signature": ""}, {"timestamp": "20170101120000"}],
)
async def test_no_token_without_a_proof(
    harness: PlatformsHarness, refunded: dict[str, Any], given: dict[str, str]
) -> None:
    assert (await token(harness, **given))[0] == 412


async def test_the_eleventh_token_ends_the_first(
    harness: PlatformsHarness, refunded: dict[str, Any]
) -> None:
    tokens = [(await token(harness))[1]["accessToken"] for _ in range(11)]
    headers = [open_access_token.header(one) for one in tokens]
    answers = [(await harness.send(PATH, encoded(ASKED), header))[0] for header in headers]
    assert answers == [412] + [200] * 10


async def test_a_token_is_kept_as_its_hash(
    harness: PlatformsHarness, refunded: dict[str, Any]
) -> None:
    made = (await token(harness))[1]["accessToken"]
    rows = await harness.payserver.sql("SELECT encode(token_hash, 'escape') FROM ums_token")
    assert rows
    assert all(made not in row[0] for row in rows)


async def test_other_methods_and_sizes_are_refused_in_the_first_layer(
    harness: PlatformsHarness, refunded: dict[str, Any]
) -> None:
    async with harness.payserver.http.get(harness.payserver.url + PATH) as answer:
        assert (answer.status, (await answer.json())["errCode"]) == (405, "9001")
    status, told = await harness.send(PATH, b" " * 70_000, "x")
    assert (status, told["errCode"]) == (413, "9001")


async def test_our_client_and_our_server_understand_each_other(
    harness: PlatformsHarness, refunded: dict[str, Any]
) -> None:
    access = Access(APP_ID, APP_KEY, f"{harness.payserver.url}/v1", MID, TID)
    http = HttpClient("test")

    async def ask(mer_order_id: str, given: Access = access) -> UmsAnswer:
        members = protocol.asked_about(given, mer_order_id)
        now, nonce = datetime.now(UTC), secrets.token_hex(16)
        return await protocol.send(http, given, protocol.REFUND_QUERY, members, now, nonce)

    harness.ums.script.questions = 2
    refund = await harness.refund(await harness.paid(refunded["mode"], payAmount=100))
    harness.ums.script.questions = 0
    states = [(await ask(refund["clientRefundNo"])).refund_state]
    await harness.becomes("refund_order", "traction_no", refund["tractionNo"], "refunded")
    states.append((await ask(refund["clientRefundNo"])).refund_state)
    assert states == [State.PROCESSING, State.SUCCESS]
    assert (await ask("r-nobody")).meaning is Meaning.NOT_THERE
    stranger = Access(APP_ID, "no", access.base_url, MID, TID)
    assert (await ask("r-shown", stranger)).meaning is Meaning.OUR_FAULT
    nowhere = Access(APP_ID, APP_KEY, f"{harness.payserver.url}/v2", MID, TID)
    assert (await ask("r-shown", nowhere)).meaning is Meaning.ASK_LATER
    await http.aclose()


async def test_a_stored_app_key_signs_until_it_is_revoked(
    harness: PlatformsHarness, refunded: dict[str, Any]
) -> None:
    stored = Stored(harness.payserver.pay.port)
    merchant = refunded["mode"].merchant_uuid
    await harness.app(merchant, app_id="stored", secret_name="", notify_secret_name="")
    given = "a-stored-app-key-0001"
    assert (await harness.ask("r-shown", app_id="stored", key=given))[0] == REFUSED[0]
    made = await stored.issue("chinaums", "stored", given)
    new = await stored.rotate("chinaums", "stored")
    for key in (given, new.secret):
        assert (await harness.ask("r-shown", app_id="stored", key=key))[0] == 200
    await stored.revoke(made)
    assert await harness.ask("r-shown", app_id="stored", key=given) == REFUSED
    assert (await harness.ask("r-shown", app_id="stored", key=new.secret))[0] == 200
