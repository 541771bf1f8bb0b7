"""Promises about components: unknown is never failed, is asked about, ends once; notifies are signed."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from shoudan_pay.payserver import protocol
from tests.pay.payserver.harness import PayserverHarness, body, by_code, number
from tests.poll import eventually
from tests.stored import Stored


async def status_of(harness: PayserverHarness, wish: dict[str, Any]) -> str:
    _, listed = await harness.get("payOrders", clientPayNo=wish["clientPayNo"])
    return str(listed["items"][0]["status"])


async def ends(harness: PayserverHarness, wish: dict[str, Any], status: str) -> None:
    async def ended() -> bool:
        return await status_of(harness, wish) == status

    await eventually(ended)


@pytest.mark.parametrize(
    ("tail", "at_once", "at_last"),
    [
        ("0000", "payed", "payed"),
        ("1002", "paying", "payed"),
        ("1003", "paying", "payFailed"),
        ("1004", "paying", "payed"),
        ("1008", "paying", "payed"),
        ("1009", "paying", "payed"),
        ("1010", "paying", "payed"),
        ("1014", "paying", "payed"),
        ("1007", "paying", "payFailed"),
    ],
)
async def test_what_is_unknown_is_paying_until_the_component_says_more(
    harness: PayserverHarness, tail: str, at_once: str, at_last: str
) -> None:
    wish = by_code(await harness.component_mode(), tail)
    status, paid = await harness.post("pay", wish)
    assert (status, paid["ret"], paid["data"]["status"]) == (200, "success", at_once)
    await ends(harness, wish, at_last)
    known = harness.component.pays.get(paid["data"]["tractionNo"])
    assert known is None or known.calls == 1


async def test_a_component_that_says_failed_fails_the_pay_with_its_reason(
    harness: PayserverHarness,
) -> None:
    wish = by_code(await harness.component_mode(), "1001")
    status, no = await harness.post("pay", wish)
    assert (status, no["code"]) == (500, 9999)
    assert "USER_REFUSED" in no["message"]
    assert await status_of(harness, wish) == "payFailed"


async def test_a_component_that_cannot_be_reached_is_called_again_when_it_can(
    harness: PayserverHarness,
) -> None:
    mode = await harness.component_mode(pay_url="http://127.0.0.1:1/pay")
    wish = body(mode)
    assert (await harness.post("pay", wish))[1]["data"]["status"] == "paying"
    await harness.sql(
        "UPDATE pay_mode SET pay_url = :url WHERE uuid = :uuid",
        url=f"{harness.component.url}/pay",
        uuid=mode.uuid,
    )
    await due(harness)
    await ends(harness, wish, "payed")


async def due(harness: PayserverHarness) -> None:
    """Its next question is asked now."""
    await harness.sql(
        "UPDATE task SET next_execute_time = now() - interval '1 s' WHERE status = 20"
    )


async def test_an_asynchronous_mode_is_paying_and_told_by_notify(harness: PayserverHarness) -> None:
    mode = await harness.component_mode(async_notify=True, query_url=None)
    wish = by_code(mode, "1011")
    _, paid = await harness.post("pay", wish)
    assert (paid["businessRet"], paid["data"]["status"]) == ("asyncOnlinePay", "paying")
    await ends(harness, wish, "payed")
    await eventually(lambda: harness.component.notified[-2:] == [(200, "true")] * 2)
    number_ = paid["data"]["tractionNo"]
    assert harness.component.pays[number_].calls == 1
    _, listed = await harness.get(f"payOrders/{paid['data']['uuid']}/tradeRecords", orderBy="id")
    assert [one["status"] for one in listed["items"]] == ["paying", "payed"]


async def test_an_asynchronous_failure_is_told_by_notify(harness: PayserverHarness) -> None:
    wish = by_code(await harness.component_mode(async_notify=True, query_url=None), "1012")
    assert (await harness.post("pay", wish))[1]["data"]["status"] == "paying"
    await ends(harness, wish, "payFailed")


async def notify_url(harness: PayserverHarness, wish: dict[str, Any]) -> tuple[str, str]:
    """The tractionNo and the sign a component was given."""

    async def given() -> bool:
        return any(b.get("clientPayNo") == wish["clientPayNo"] for b in harness.component.bodies)

    await eventually(given)
    sent = next(b for b in harness.component.bodies if b.get("clientPayNo") == wish["clientPayNo"])
    url = urlsplit(sent["notifyUrl"])
    assert url.path == "/api/v1.0.0/payNotify"
    return sent["tractionNo"], parse_qs(url.query)["sign"][0]


async def test_only_the_component_may_notify(harness: PayserverHarness) -> None:
    mode = await harness.component_mode(async_notify=True, query_url=None)
    wish, other = by_code(mode, "1006"), by_code(mode, "1006")
    await harness.post("pay", wish)
    await harness.post("pay", other)
    number_, sign = await notify_url(harness, wish)
    _, others_sign = await notify_url(harness, other)
    told = {"tractionNo": number_, "ret": "success"}
    unknown = await harness.post(
        f"payNotify?sign={sign}", told | {"tractionNo": "1000000000000000"}
    )
    assert (unknown[0], unknown[1]["code"]) == (404, 1599)
    for forged in ("", others_sign, sign[:-1], sign.upper(), "x" * 64, "é"):
        answer = await harness.post(f"payNotify?sign={forged}", told)
        assert answer == unknown
    assert (await harness.post(f"refundNotify?sign={sign}", told))[0] == 404
    assert await status_of(harness, wish) == "paying"
    # Running changes nothing, an undocumented word is refused, success ends it, repeats change nothing.
    assert await harness.post(f"payNotify?sign={sign}", told | {"ret": "running"}) == (200, True)
    assert (await harness.post(f"payNotify?sign={sign}", told | {"ret": "paid"}))[0] == 400
    assert await status_of(harness, wish) == "paying"
    alias = harness.url + f"/payInfo?sign={sign}"
    async with harness.http.post(alias, json=told) as answer:
        assert (answer.status, await answer.text()) == (200, "true")
    assert await harness.post(f"payNotify?sign={sign}", told) == (200, True)
    assert await status_of(harness, wish) == "payed"
    assert (await status_of(harness, other)) == "paying"
    # A later contradiction is written down and not applied.
    assert await harness.post(f"payNotify?sign={sign}", told | {"ret": "failed"}) == (200, True)
    assert await status_of(harness, wish) == "payed"
    rows = await harness.sql(
        "SELECT result_code FROM trade_record WHERE traction_no = :n ORDER BY id", n=number_
    )
    assert [row[0] for row in rows] == ["", "", "conflict:failed"]
    parked = await harness.sql("SELECT parked FROM pay_order WHERE traction_no = :n", n=number_)
    assert parked == [(True,)]


async def test_a_pay_of_the_ledger_cannot_be_notified(harness: PayserverHarness) -> None:
    mode = await harness.mode()
    key = await harness.account(mode)
    wish = body(mode, payParams={"signAccounterUUID": key.eid})
    await harness.post("pay", wish)
    rows = await harness.sql(
        "SELECT traction_no FROM pay_order WHERE client_pay_no = :n", n=wish["clientPayNo"]
    )
    told = {"tractionNo": rows[0][0], "ret": "success"}
    assert (await harness.post("payNotify?sign=x", told))[0] == 404
    assert await status_of(harness, wish) == "payFailed"


async def expire(harness: PayserverHarness, wish: dict[str, Any]) -> None:
    await harness.sql(
        "UPDATE pay_order SET expire_time = now() - interval '1 s' WHERE client_pay_no = :n",
        n=wish["clientPayNo"],
    )
    await due(harness)


async def test_a_pay_still_running_at_its_end_expires(harness: PayserverHarness) -> None:
    wish = by_code(await harness.component_mode(), "1006")
    await harness.post("pay", wish)
    await expire(harness, wish)
    await ends(harness, wish, "payFailed")
    _, listed = await harness.get("payOrders", clientPayNo=wish["clientPayNo"])
    assert listed["items"][0]["resultCode"] == "expired"


async def test_a_pay_that_was_never_sent_expires(harness: PayserverHarness) -> None:
    wish = body(await harness.component_mode(pay_url="http://127.0.0.1:1/pay"))
    await harness.post("pay", wish)
    await expire(harness, wish)
    await ends(harness, wish, "payFailed")


async def test_an_expired_pay_that_nobody_can_be_asked_about_is_parked_not_failed(
    harness: PayserverHarness,
) -> None:
    wish = by_code(await harness.component_mode(query_url=None), "1004")
    await harness.post("pay", wish)
    await expire(harness, wish)

    async def parked() -> bool:
        rows = await harness.sql(
            "SELECT parked FROM pay_order WHERE client_pay_no = :n", n=wish["clientPayNo"]
        )
        return bool(rows[0][0])

    await eventually(parked)
    assert await status_of(harness, wish) == "paying"


async def test_a_repeatable_component_is_called_again_with_the_same_number(
    harness: PayserverHarness,
) -> None:
    mode = await harness.component_mode(query_url=None, repeatable=True)
    wish = by_code(mode, "1008")
    _, paid = await harness.post("pay", wish)
    known = harness.component.pays[paid["data"]["tractionNo"]]
    await eventually(lambda: known.calls > 1)
    assert harness.component.taken_fen >= 50


async def paid(harness: PayserverHarness, tail: str = "0000", **given: Any) -> str:
    mode = await harness.component_mode(**given)
    _, answer = await harness.post("pay", by_code(mode, tail))
    assert answer["data"]["status"] == "payed"
    return str(answer["data"]["tractionNo"])


def refund(traction: str, fen: int | None = None, **given: Any) -> dict[str, Any]:
    wish: dict[str, Any] = {"payTractionNo": traction, "clientRefundNo": number("r"), **given}
    return wish if fen is None else wish | {"refundAmount": fen}


async def pay_of(harness: PayserverHarness, traction: str) -> dict[str, Any]:
    _, listed = await harness.get("payOrders", tractionNo=traction)
    return dict(listed["items"][0])


async def test_refunds_in_part_until_nothing_is_left(harness: PayserverHarness) -> None:
    traction = await paid(harness)
    assert (await harness.post("refund", refund(traction, 20)))[1]["data"]["refundAmount"] == 20
    assert (await pay_of(harness, traction))["status"] == "partRefunded"
    status, no = await harness.post("refund", refund(traction, 31))
    message = "RefundOrderBusiness->create refundAmount exceed payAmount!!!!"
    assert (status, no["code"], no["message"]) == (500, 9999, message)
    last = refund(traction)
    _, rest = await harness.post("refund", last)
    assert rest["data"]["refundAmount"] == 30
    pay = await pay_of(harness, traction)
    assert (pay["status"], pay["refundAmount"]) == ("refunded", 50)
    assert pay["lastRefundAt"] is not None
    assert await harness.post("refund", last) == (200, rest)
    status, no = await harness.post("refund", last | {"refundAmount": 1})
    assert (status, no["code"]) == (409, 9999)


async def test_a_new_number_on_a_wholly_refunded_pay_exceeds_it(harness: PayserverHarness) -> None:
    traction = await paid(harness)
    assert (await harness.post("refund", refund(traction)))[1]["data"]["status"] == "refunded"
    exceeds = "RefundOrderBusiness->create refundAmount exceed payAmount!!!!"
    for wish in (refund(traction), refund(traction, 1), refund(traction, 50, isCancel=1)):
        status, no = await harness.post("refund", wish)
        assert (status, no["code"], no["message"]) == (500, 9999, exceeds)
        _, listed = await harness.get("refundOrders", clientRefundNo=wish["clientRefundNo"])
        assert listed["size"] == 0
    _, answer = await harness.post("batchRefund", {"batchRefundData": [refund(traction)]})
    slot = answer["batchRefundResult"][0]
    assert (slot["statusCode"], slot["body"]["message"]) == (500, exceeds)


async def test_parallel_refunds_never_give_back_more_than_was_paid(
    harness: PayserverHarness,
) -> None:
    traction = await paid(harness)
    wishes = [refund(traction, 20) for _ in range(12)]
    answers = await asyncio.gather(*[harness.post("refund", one) for one in wishes])
    assert sorted(status for status, _ in answers) == [200] * 2 + [500] * 10
    assert (await pay_of(harness, traction))["refundAmount"] == 40
    given = [r.amount for r in harness.component.refunds.values()]
    assert len(given) >= 2


async def test_a_batch_of_refunds_of_one_pay_is_judged_in_order(harness: PayserverHarness) -> None:
    traction = await paid(harness)
    wishes = [refund(traction, 30), refund(traction, 30), refund(traction, 20), refund("1", 1)]
    _, answer = await harness.post("batchRefund", {"batchRefundData": wishes})
    slots = answer["batchRefundResult"]
    assert [one["statusCode"] for one in slots] == [200, 500, 200, 500]
    assert [one["clientRefundNo"] for one in slots] == [w["clientRefundNo"] for w in wishes]
    start = "RefundOrderBusiness->create payOrder not has exist!!! payTractionNo:1"
    assert slots[3]["body"]["message"] == start


async def test_a_cancel_is_for_eight_hours_a_refund_for_ever(harness: PayserverHarness) -> None:
    traction = await paid(harness)
    await harness.sql(
        """UPDATE pay_order SET pay_start_time = now() - interval '8 hours 1 minute',
            finish_time = now() - interval '8 hours 1 minute' WHERE traction_no = :n""",
        n=traction,
    )
    status, no = await harness.post("refund", refund(traction, isCancel=1))
    assert status == 500
    assert "has exceed cancel limit time ,can not canceled!!!" in no["message"]
    assert (await harness.post("refund", refund(traction, isCancel=0)))[0] == 200


async def test_only_what_is_payed_is_refunded(harness: PayserverHarness) -> None:
    wish = by_code(await harness.component_mode(), "1006")
    _, answer = await harness.post("pay", wish)
    status, no = await harness.post("refund", refund(answer["data"]["tractionNo"]))
    assert status == 500
    assert no["message"].endswith("payOrder status is invalid!!! payOrderObj.status:paying")


@pytest.mark.parametrize(("tail", "at_last"), [("2002", "refunded"), ("2003", "refunded")])
async def test_an_unknown_refund_is_refunding_until_the_component_says_more(
    harness: PayserverHarness, tail: str, at_last: str
) -> None:
    traction = await paid(harness, tail)
    status, answer = await harness.post("refund", refund(traction))
    assert (status, answer["data"]["status"]) == (200, "refunding")
    # It may have been given back, so it counts.
    assert (await harness.post("refund", refund(traction, 1)))[0] == 500

    async def ended() -> bool:
        return (await pay_of(harness, traction))["status"] == at_last

    await eventually(ended)
    assert harness.component.refunds[answer["data"]["tractionNo"]].calls == 1


async def test_a_failed_refund_frees_what_it_would_have_given_back(
    harness: PayserverHarness,
) -> None:
    traction = await paid(harness, "2001")
    status, no = await harness.post("refund", refund(traction))
    assert status == 500
    assert no["message"].startswith("RefundOrderBusiness->create refund Error:{")
    pay = await pay_of(harness, traction)
    assert (pay["status"], pay["refundAmount"]) == ("payed", 0)


async def test_an_asynchronous_refund_is_told_by_notify(harness: PayserverHarness) -> None:
    mode = await harness.component_mode(async_notify=True, query_url=None)
    wish = by_code(mode, "2002")
    _, answer = await harness.post("pay", wish)
    await ends(harness, wish, "payed")
    traction = answer["data"]["tractionNo"]
    _, back = await harness.post("refund", refund(traction))
    assert (back["businessRet"], back["data"]["status"]) == ("asyncOnlineRefund", "refunding")

    async def ended() -> bool:
        return (await pay_of(harness, traction))["status"] == "refunded"

    await eventually(ended)


async def test_what_is_payed_is_in_the_component_s_journal_with_its_amount(
    harness: PayserverHarness,
) -> None:
    rows = await harness.sql("""SELECT traction_no, amount_micros FROM pay_order
        WHERE method = 'component' AND status IN ('payed', 'partRefunded', 'refunded')""")
    journal = harness.component.pays
    assert rows
    forged = [n for n, micros in rows if n not in journal or journal[n].amount * 10_000 != micros]
    # Only the notify test pays without the component having taken it.
    assert all(journal[n].ends == "running" for n in forged if n in journal)
    assert [n for n in forged if n not in journal] == []


async def test_more_pays_than_may_wait_for_a_component_are_paid_one_after_the_other(
    harness: PayserverHarness,
) -> None:
    mode = await harness.component_mode()
    wishes = [body(mode, payAmount=1) for _ in range(400)]
    _, answer = await harness.post("batchPay", {"batchPayData": wishes})
    assert {one["statusCode"] for one in answer["batchPayResult"]} == {200}

    async def all_paid() -> bool:
        _, listed = await harness.get("payOrders", payModeUUID=mode.uuid, status="payed")
        return listed["size"] == len(wishes)

    await eventually(all_paid, 30, every_s=0.1)
    numbers = [one["body"]["data"]["tractionNo"] for one in answer["batchPayResult"]]
    assert {harness.component.pays[n].calls for n in numbers} == {1}


async def test_a_stored_secret_signs_new_notify_urls_and_those_of_before_stay_good(
    harness: PayserverHarness,
) -> None:
    mode = await harness.component_mode(async_notify=True, query_url=None)
    before, after = by_code(mode, "1006"), by_code(mode, "1006")
    await harness.post("pay", before)
    made = await Stored(harness.pay.port).issue("component", mode.template_id or mode.uuid)
    await harness.post("pay", after)
    number_, sign = await notify_url(harness, after)
    assert sign == protocol.sign(made.secret.encode(), "pay", number_)
    for wish in (before, after):
        number_, sign = await notify_url(harness, wish)
        told = {"tractionNo": number_, "ret": "success"}
        assert await harness.post(f"payNotify?sign={sign}", told) == (200, True)
        assert await status_of(harness, wish) == "payed"
