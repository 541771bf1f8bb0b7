"""ChinaUMS's client side: whatever happens to a call, a refund is sent once, ends once, and ends right."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest

from shoudan_fakes.chinaums import Script
from shoudan_pay.payserver.store.modes import Mode
from shoudan_signing import key_signature
from tests.pay.platforms.desk import COMMUNICATION_KEY, MID, TID, Desk
from tests.poll import eventually


@pytest.fixture(scope="module")
async def mode(desk: Desk) -> Mode:
    mode = await desk.union_pay()
    await desk.app(mode.merchant_uuid)
    return mode


async def row(desk: Desk, refund: dict[str, Any]) -> Any:
    statement = (
        "SELECT refund_order_id, mer_order_id, status, asked, last_code FROM ums_refund"
        " WHERE traction_no = :number"
    )
    return (await desk.shop.sql(statement, number=refund["tractionNo"]))[0]


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
async def test_every_refund_ends_as_chinaums_ends_it(desk: Desk, mode: Mode, how: str) -> None:
    desk.ums.script, expected = ENDS[how]
    pay = await desk.paid(mode, payAmount=300)
    refund = await desk.refund(pay, refundAmount=120)
    await desk.becomes("refund_order", "traction_no", refund["tractionNo"], expected)
    desk.ums.script = Script()
    number, mer_order_id, *_ = await row(desk, refund)
    assert len(number) == 28
    assert number.startswith("124S")
    arrived = desk.ums.refunds.get(number)
    if expected == "refunded":
        assert arrived is not None
        assert (arrived.mer_order_id, arrived.fen) == (mer_order_id, 120)
    status = await desk.status("pay_order", "traction_no", pay["tractionNo"])
    assert status == ("partRefunded" if expected == "refunded" else "payed")
    wanted = "success" if expected == "refunded" else "fail"
    await desk.becomes("ums_refund", "traction_no", refund["tractionNo"], wanted)


async def test_what_may_have_arrived_is_asked_about_before_it_is_sent_again(
    desk: Desk, mode: Mode
) -> None:
    desk.ums.script = Script(broken="hang", times=1)
    pay = await desk.paid(mode)
    refund = await desk.refund(pay)
    await desk.becomes("refund_order", "traction_no", refund["tractionNo"], "refunded")
    number = (await row(desk, refund))[0]
    assert desk.ums.refunds[number].calls == 1
    asked = [name for name, members in desk.ums.calls if number in members.values()]
    assert asked[:2] == ["refund", "refund-query"]
    assert asked.count("refund") == 1


async def test_the_same_refund_again_changes_nothing(desk: Desk, mode: Mode) -> None:
    pay = await desk.paid(mode, payAmount=100)
    first = await desk.refund(pay, clientRefundNo="again-1")
    second = await desk.refund(pay, clientRefundNo="again-1")
    assert first["tractionNo"] == second["tractionNo"]
    assert desk.ums.refunds[(await row(desk, first))[0]].calls == 1


async def test_answers_that_are_signed_are_verified(desk: Desk, mode: Mode) -> None:
    desk.ums.signs = True
    pay = await desk.paid(mode)
    refund = await desk.refund(pay)
    await desk.becomes("refund_order", "traction_no", refund["tractionNo"], "refunded")
    desk.ums.signs = False


async def test_a_refund_with_no_credential_waits_for_one(desk: Desk, mode: Mode) -> None:
    await desk.app(mode.merchant_uuid, enabled=False)
    pay = await desk.paid(mode)
    refund = await desk.refund(pay)
    assert refund["status"] == "refunding"
    await desk.app(mode.merchant_uuid)
    await desk.becomes("refund_order", "traction_no", refund["tractionNo"], "refunded")


def form(params: dict[str, str], *, key: str = COMMUNICATION_KEY, kind: Any = "SHA256") -> bytes:
    signed = params | {"sign": key_signature.sign(params, key, kind)}
    return urlencode(signed).encode()


async def notify(desk: Desk, raw: bytes) -> tuple[int, Any]:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return await desk.send("/chinaums/notify", raw, None, **headers)


async def running(desk: Desk, mode: Mode) -> tuple[dict[str, Any], dict[str, str]]:
    """A refund that needs a question, and the notify about it."""
    desk.ums.script = Script(questions=4)
    refund = await desk.refund(await desk.paid(mode, payAmount=100))
    desk.ums.script = Script()
    number, mer_order_id, *_ = await row(desk, refund)
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
    desk: Desk, mode: Mode, kind: Any
) -> None:
    refund, params = await running(desk, mode)
    for _ in range(3):
        assert await notify(desk, form(params, kind=kind)) == (200, "SUCCESS")
    await desk.becomes("refund_order", "traction_no", refund["tractionNo"], "refunded")
    assert await notify(desk, form(params, kind=kind)) == (200, "SUCCESS")
    assert await desk.status("refund_order", "traction_no", refund["tractionNo"]) == "refunded"


async def test_wrong_notifies_are_failed_and_move_nothing(desk: Desk, mode: Mode) -> None:
    refund, params = await running(desk, mode)
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
        assert await notify(desk, raw) == (200, "FAILED")
    await desk.becomes("refund_order", "traction_no", refund["tractionNo"], "refunded")


async def test_a_pay_is_ended_by_its_notify_once(desk: Desk, mode: Mode) -> None:
    from tests.pay.payserver.shop import by_code

    # The component runs for ever: only ChinaUMS can end this pay.
    _, answer = await desk.shop.post("pay", by_code(mode, "1006", payAmount=70))
    number = answer["data"]["tractionNo"]
    params = {"mid": MID, "tid": TID, "merOrderId": number, "totalAmount": "71"}
    params["status"] = "TRADE_SUCCESS"
    assert await notify(desk, form(params)) == (200, "FAILED")
    assert await desk.status("pay_order", "traction_no", number) == "paying"
    params["totalAmount"] = "70"
    for _ in range(2):
        assert await notify(desk, form(params)) == (200, "SUCCESS")
    assert await desk.status("pay_order", "traction_no", number) == "payed"


async def test_a_pay_nobody_knows_is_asked_of_chinaums(desk: Desk, mode: Mode) -> None:
    from tests.pay.payserver.shop import by_code

    _, answer = await desk.shop.post("pay", by_code(mode, "1006", payAmount=80))
    number = answer["data"]["tractionNo"]
    desk.ums.pays[number] = ("TRADE_SUCCESS", 80)
    await desk.becomes("pay_order", "traction_no", number, "payed")

    async def asked() -> bool:
        return any(name == "query" for name, _ in desk.ums.calls)

    await eventually(asked)
