"""ChinaUMS's client side: whatever happens to a call, a refund is sent once, ends once, and ends right."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest

from shoudan_fakes.chinaums import Script
from shoudan_pay.payserver.store.modes import Mode
from shoudan_signing import key_signature
from tests.pay.platforms.harness import COMMUNICATION_KEY, MID, TID, PlatformsHarness
from tests.poll import eventually


@pytest.fixture(scope="module")
async def mode(harness: PlatformsHarness) -> Mode:
    mode = await harness.union_pay()
    await harness.app(mode.merchant_uuid)
    return mode


async def row(harness: PlatformsHarness, refund: dict[str, Any]) -> Any:
    statement = (
        "SELECT refund_order_id, mer_order_id, status, asked, last_code FROM ums_refund"
        " WHERE traction_no = :number"
    )
    return (await harness.payserver.sql(statement, number=refund["tractionNo"]))[0]


ENDS = {
    "at once": (Script(), "refunded"),
    "after three questions": (Script(questions=3), "refunded"),
    "refused by the wallet": (Script(code="TARGET_FAIL"), "refundFailed"),
    "not allowed": (Script(code="OPERATION_NOT_ALLOWED"), "refundFailed"),
    "the pay is not known": (Script(code="NO_ORDER"), "refundFailed"),
    "fails after a question": (Script(ends="FAIL", questions=1), "refundFailed"),
    "made, and never answered": (Script(broken="hang", times=1), "refunded"),
    "made, the connection cut": (Script(broken="reset", times=1), "refunded"),
    "made, answered a page": (Script(broken="html", times=1), "refunded"),
    "made, answered with a forged signature": (
        Script(ends="FAIL", broken="forged"),
        "refundFailed",
    ),
    "cut before it arrived": (Script(broken="reset", lost=True, times=1), "refunded"),
    "overloaded once": (Script(code="TXN_DISCARDED", times=1), "refunded"),
    "our configuration was wrong once": (Script(code="BAD_SIGN", times=1), "refunded"),
    "to be queried first": (Script(code="INVALID_ORDER", times=1), "refunded"),
    "an internal error": (Script(code="INTERNAL_ERROR", times=1), "refunded"),
    "an unlisted word": (Script(code="NEW_WORD", times=1), "refunded"),
}


@pytest.mark.parametrize("how", ENDS)
async def test_every_refund_ends_as_chinaums_ends_it(
    harness: PlatformsHarness, mode: Mode, how: str
) -> None:
    harness.ums.script, expected = ENDS[how]
    pay = await harness.paid(mode, payAmount=300)
    refund = await harness.refund(pay, refundAmount=120)
    await harness.becomes("refund_order", "traction_no", refund["tractionNo"], expected)
    harness.ums.script = Script()
    number, mer_order_id, *_ = await row(harness, refund)
    assert len(number) == 28
    assert number.startswith("124S")
    arrived = harness.ums.refunds.get(number)
    if expected == "refunded":
        assert arrived is not None
        assert (arrived.mer_order_id, arrived.fen) == (mer_order_id, 120)
    status = await harness.status("pay_order", "traction_no", pay["tractionNo"])
    assert status == ("partRefunded" if expected == "refunded" else "payed")
    wanted = "success" if expected == "refunded" else "fail"
    await harness.becomes("ums_refund", "traction_no", refund["tractionNo"], wanted)


async def test_what_may_have_arrived_is_asked_about_before_it_is_sent_again(
    harness: PlatformsHarness, mode: Mode
) -> None:
    harness.ums.script = Script(broken="hang", times=1)
    pay = await harness.paid(mode)
    refund = await harness.refund(pay)
    await harness.becomes("refund_order", "traction_no", refund["tractionNo"], "refunded")
    number = (await row(harness, refund))[0]
    assert harness.ums.refunds[number].calls == 1
    asked = [name for name, members in harness.ums.calls if number in members.values()]
    assert asked[:2] == ["refund", "refund-query"]
    assert asked.count("refund") == 1


async def test_the_same_refund_again_changes_nothing(harness: PlatformsHarness, mode: Mode) -> None:
    pay = await harness.paid(mode, payAmount=100)
    first = await harness.refund(pay, clientRefundNo="again-1")
    second = await harness.refund(pay, clientRefundNo="again-1")
    assert first["tractionNo"] == second["tractionNo"]
    assert harness.ums.refunds[(await row(harness, first))[0]].calls == 1


async def test_answers_that_are_signed_are_verified(harness: PlatformsHarness, mode: Mode) -> None:
    harness.ums.signs = True
    pay = await harness.paid(mode)
    refund = await harness.refund(pay)
    await harness.becomes("refund_order", "traction_no", refund["tractionNo"], "refunded")
    harness.ums.signs = False


async def test_a_refund_with_no_credential_waits_for_one(
    harness: PlatformsHarness, mode: Mode
) -> None:
    await harness.app(mode.merchant_uuid, enabled=False)
    pay = await harness.paid(mode)
    refund = await harness.refund(pay)
    assert refund["status"] == "refunding"
    await harness.app(mode.merchant_uuid)
    await harness.becomes("refund_order", "traction_no", refund["tractionNo"], "refunded")


def form(params: dict[str, str], *, key: str = COMMUNICATION_KEY, kind: Any = "SHA256") -> bytes:
    signed = params | {"sign": key_signature.sign(params, key, kind)}
    return urlencode(signed).encode()


async def notify(harness: PlatformsHarness, raw: bytes) -> tuple[int, Any]:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return await harness.send("/chinaums/notify", raw, None, **headers)


async def running(harness: PlatformsHarness, mode: Mode) -> tuple[dict[str, Any], dict[str, str]]:
    """A refund that needs a question, and the notify about it."""
    harness.ums.script = Script(questions=4)
    refund = await harness.refund(await harness.paid(mode, payAmount=100))
    harness.ums.script = Script()
    number, mer_order_id, *_ = await row(harness, refund)
    params = {
        "mid": MID,
        "tid": TID,
        "status": "TRADE_REFUND",
        "merOrderId": mer_order_id,
        "refundOrderId": number,
        "refundAmount": "100",
        "totalAmount": "100",
        "rnd7Qk": "a8Zt",
        "attachedData": "",
    }
    return refund, params


@pytest.mark.parametrize("kind", ["MD5", "SHA256"])
async def test_a_notify_leads_to_a_question_and_may_come_again(
    harness: PlatformsHarness, mode: Mode, kind: Any
) -> None:
    refund, params = await running(harness, mode)
    for _ in range(3):
        assert await notify(harness, form(params, kind=kind)) == (200, "SUCCESS")
    await harness.becomes("refund_order", "traction_no", refund["tractionNo"], "refunded")
    assert await notify(harness, form(params, kind=kind)) == (200, "SUCCESS")
    assert await harness.status("refund_order", "traction_no", refund["tractionNo"]) == "refunded"


async def test_wrong_notifies_are_failed_and_move_nothing(
    harness: PlatformsHarness, mode: Mode
) -> None:
    refund, params = await running(harness, mode)
    wrong = [
        form(params, key="another"),
        form(params) + b"&extra=1",
        form(params | {"refundAmount": "101"}),
        form(params | {"merOrderId": "124S2023071900000009"}),
        form(params | {"refundOrderId": "124S2023071900000009"}),
        form(params | {"tid": "00000001"}),
        form(params | {"signType": "RSA2"}),
        urlencode(params).encode(),
        b"",
        b"a=%FF",
        b"mid=1&mid=2",
    ]
    for raw in wrong:
        assert await notify(harness, raw) == (200, "FAILED")
    await harness.becomes("refund_order", "traction_no", refund["tractionNo"], "refunded")


async def test_a_pay_is_ended_by_its_notify_once(harness: PlatformsHarness, mode: Mode) -> None:
    from tests.pay.payserver.harness import by_code

    # The component runs for ever: only ChinaUMS can end this pay.
    _, answer = await harness.payserver.post("pay", by_code(mode, "1006", payAmount=70))
    number = answer["data"]["tractionNo"]
    params = {"mid": MID, "tid": TID, "merOrderId": number, "totalAmount": "71"}
    params["status"] = "TRADE_SUCCESS"
    assert await notify(harness, form(params)) == (200, "FAILED")
    assert await harness.status("pay_order", "traction_no", number) == "paying"
    params["totalAmount"] = "70"
    for _ in range(2):
        assert await notify(harness, form(params)) == (200, "SUCCESS")
    assert await harness.status("pay_order", "traction_no", number) == "payed"


async def test_a_pay_nobody_knows_is_asked_of_chinaums(
    harness: PlatformsHarness, mode: Mode
) -> None:
    from tests.pay.payserver.harness import by_code

    _, answer = await harness.payserver.post("pay", by_code(mode, "1006", payAmount=80))
    number = answer["data"]["tractionNo"]
    harness.ums.pays[number] = ("TRADE_SUCCESS", 80)
    await harness.becomes("pay_order", "traction_no", number, "payed")

    async def asked() -> bool:
        return any(name == "query" for name, _ in harness.ums.calls)

    await eventually(asked)
