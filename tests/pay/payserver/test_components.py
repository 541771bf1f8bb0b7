"""Promises about components: unknown is never failed, is asked about, ends once; notifies are signed."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from shoudan_pay.payserver import protocol
from tests.pay.payserver.shop import Shop, body, by_code, number
from tests.poll import eventually
from tests.stored import Stored


async def status_of(shop: Shop, wish: dict[str, Any]) -> str:
    _, listed = await shop.get("payOrders", clientPayNo=wish["clientPayNo"])
    return str(listed["items"][0]["status"])


async def ends(shop: Shop, wish: dict[str, Any], status: str) -> None:
    async def ended() -> bool:
        return await status_of(shop, wish) == status

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
    shop: Shop, tail: str, at_once: str, at_last: str
) -> None:
    wish = by_code(await shop.component_mode(), tail)
    status, paid = await shop.post("pay", wish)
    assert (status, paid["ret"], paid["data"]["status"]) == (200, "success", at_once)
    await ends(shop, wish, at_last)
    known = shop.component.pays.get(paid["data"]["tractionNo"])
    assert known is None or known.calls == 1


async def test_a_component_that_says_failed_fails_the_pay_with_its_reason(shop: Shop) -> None:
    wish = by_code(await shop.component_mode(), "1001")
    status, no = await shop.post("pay", wish)
    assert (status, no["code"]) == (500, 9999)
    assert "USER_REFUSED" in no["message"]
    assert await status_of(shop, wish) == "payFailed"


async def test_a_component_that_cannot_be_reached_is_called_again_when_it_can(shop: Shop) -> None:
    mode = await shop.component_mode(pay_url="http://127.0.0.1:1/pay")
    wish = body(mode)
    assert (await shop.post("pay", wish))[1]["data"]["status"] == "paying"
    await shop.sql(
        "UPDATE pay_mode SET pay_url = :url WHERE uuid = :uuid",
        url=f"{shop.component.url}/pay",
        uuid=mode.uuid,
    )
    await due(shop)
    await ends(shop, wish, "payed")


async def due(shop: Shop) -> None:
    """Its next question is asked now."""
    await shop.sql("UPDATE task SET next_execute_time = now() - interval '1 s' WHERE status = 20")


async def test_an_asynchronous_mode_is_paying_and_told_by_notify(shop: Shop) -> None:
    mode = await shop.component_mode(async_notify=True, query_url=None)
    wish = by_code(mode, "1011")
    _, paid = await shop.post("pay", wish)
    assert (paid["businessRet"], paid["data"]["status"]) == ("asyncOnlinePay", "paying")
    await ends(shop, wish, "payed")
    await eventually(lambda: shop.component.notified[-2:] == [(200, "true")] * 2)
    number_ = paid["data"]["tractionNo"]
    assert shop.component.pays[number_].calls == 1
    _, listed = await shop.get(f"payOrders/{paid['data']['uuid']}/tradeRecords", orderBy="id")
    assert [one["status"] for one in listed["items"]] == ["paying", "payed"]


async def test_an_asynchronous_failure_is_told_by_notify(shop: Shop) -> None:
    wish = by_code(await shop.component_mode(async_notify=True, query_url=None), "1012")
    assert (await shop.post("pay", wish))[1]["data"]["status"] == "paying"
    await ends(shop, wish, "payFailed")


async def notify_url(shop: Shop, wish: dict[str, Any]) -> tuple[str, str]:
    """The tractionNo and the sign a component was given."""

    async def given() -> bool:
        return any(b.get("clientPayNo") == wish["clientPayNo"] for b in shop.component.bodies)

    await eventually(given)
    sent = next(b for b in shop.component.bodies if b.get("clientPayNo") == wish["clientPayNo"])
    url = urlsplit(sent["notifyUrl"])
    assert url.path == "/api/v1.0.0/payNotify"
    return sent["tractionNo"], parse_qs(url.query)["sign"][0]


async def test_only_the_component_may_notify(shop: Shop) -> None:
    mode = await shop.component_mode(async_notify=True, query_url=None)
    wish, other = by_code(mode, "1006"), by_code(mode, "1006")
    await shop.post("pay", wish)
    await shop.post("pay", other)
    number_, sign = await notify_url(shop, wish)
    _, others_sign = await notify_url(shop, other)
    told = {"tractionNo": number_, "ret": "success"}
    unknown = await shop.post(f"payNotify?sign={sign}", told | {"tractionNo": "1000000000000000"})
    assert (unknown[0], unknown[1]["code"]) == (404, 1599)
    for forged in ("", others_sign, sign[:-1], sign.upper(), "x" * 64, "é"):
        answer = await shop.post(f"payNotify?sign={forged}", told)
        assert answer == unknown
    assert (await shop.post(f"refundNotify?sign={sign}", told))[0] == 404
    assert await status_of(shop, wish) == "paying"
    # Running changes nothing, an undocumented word is refused, success ends it, repeats change nothing.
    assert await shop.post(f"payNotify?sign={sign}", told | {"ret": "running"}) == (200, True)
    assert (await shop.post(f"payNotify?sign={sign}", told | {"ret": "paid"}))[0] == 400
    assert await status_of(shop, wish) == "paying"
    alias = shop.url + f"/payInfo?sign={sign}"
    async with shop.http.post(alias, json=told) as answer:
        assert (answer.status, await answer.text()) == (200, "true")
    assert await shop.post(f"payNotify?sign={sign}", told) == (200, True)
    assert await status_of(shop, wish) == "payed"
    assert (await status_of(shop, other)) == "paying"
    # A later contradiction is written down and not applied.
    assert await shop.post(f"payNotify?sign={sign}", told | {"ret": "failed"}) == (200, True)
    assert await status_of(shop, wish) == "payed"
    rows = await shop.sql(
        "SELECT result_code FROM trade_record WHERE traction_no = :n ORDER BY id", n=number_
    )
    assert [row[0] for row in rows] == ["", "", "conflict:failed"]
    parked = await shop.sql("SELECT parked FROM pay_order WHERE traction_no = :n", n=number_)
    assert parked == [(True,)]


async def test_a_pay_of_the_ledger_cannot_be_notified(shop: Shop) -> None:
    mode = await shop.mode()
    key = await shop.account(mode)
    wish = body(mode, payParams={"signAccounterUUID": key.eid})
    await shop.post("pay", wish)
    rows = await shop.sql(
        "SELECT traction_no FROM pay_order WHERE client_pay_no = :n", n=wish["clientPayNo"]
    )
    told = {"tractionNo": rows[0][0], "ret": "success"}
    assert (await shop.post("payNotify?sign=x", told))[0] == 404
    assert await status_of(shop, wish) == "payFailed"


async def expire(shop: Shop, wish: dict[str, Any]) -> None:
    await shop.sql(
        "UPDATE pay_order SET expire_time = now() - interval '1 s' WHERE client_pay_no = :n",
        n=wish["clientPayNo"],
    )
    await due(shop)


async def test_a_pay_still_running_at_its_end_expires(shop: Shop) -> None:
    wish = by_code(await shop.component_mode(), "1006")
    await shop.post("pay", wish)
    await expire(shop, wish)
    await ends(shop, wish, "payFailed")
    _, listed = await shop.get("payOrders", clientPayNo=wish["clientPayNo"])
    assert listed["items"][0]["resultCode"] == "expired"


async def test_a_pay_that_was_never_sent_expires(shop: Shop) -> None:
    wish = body(await shop.component_mode(pay_url="http://127.0.0.1:1/pay"))
    await shop.post("pay", wish)
    await expire(shop, wish)
    await ends(shop, wish, "payFailed")


async def test_an_expired_pay_that_nobody_can_be_asked_about_is_parked_not_failed(
    shop: Shop,
) -> None:
    wish = by_code(await shop.component_mode(query_url=None), "1004")
    await shop.post("pay", wish)
    await expire(shop, wish)

    async def parked() -> bool:
        rows = await shop.sql(
            "SELECT parked FROM pay_order WHERE client_pay_no = :n", n=wish["clientPayNo"]
        )
        return bool(rows[0][0])

    await eventually(parked)
    assert await status_of(shop, wish) == "paying"


async def test_a_repeatable_component_is_called_again_with_the_same_number(shop: Shop) -> None:
    mode = await shop.component_mode(query_url=None, repeatable=True)
    wish = by_code(mode, "1008")
    _, paid = await shop.post("pay", wish)
    known = shop.component.pays[paid["data"]["tractionNo"]]
    await eventually(lambda: known.calls > 1)
    assert shop.component.taken_fen >= 50


async def paid(shop: Shop, tail: str = "0000", **given: Any) -> str:
    mode = await shop.component_mode(**given)
    _, answer = await shop.post("pay", by_code(mode, tail))
    assert answer["data"]["status"] == "payed"
    return str(answer["data"]["tractionNo"])


def refund(traction: str, fen: int | None = None, **given: Any) -> dict[str, Any]:
    wish: dict[str, Any] = {"payTractionNo": traction, "clientRefundNo": number("r"), **given}
    return wish if fen is None else wish | {"refundAmount": fen}


async def pay_of(shop: Shop, traction: str) -> dict[str, Any]:
    _, listed = await shop.get("payOrders", tractionNo=traction)
    return dict(listed["items"][0])


async def test_refunds_in_part_until_nothing_is_left(shop: Shop) -> None:
    traction = await paid(shop)
    assert (await shop.post("refund", refund(traction, 20)))[1]["data"]["refundAmount"] == 20
    assert (await pay_of(shop, traction))["status"] == "partRefunded"
    status, no = await shop.post("refund", refund(traction, 31))
    message = "RefundOrderBusiness->create refundAmount exceed payAmount!!!!"
    assert (status, no["code"], no["message"]) == (500, 9999, message)
    last = refund(traction)
    _, rest = await shop.post("refund", last)
    assert rest["data"]["refundAmount"] == 30
    pay = await pay_of(shop, traction)
    assert (pay["status"], pay["refundAmount"]) == ("refunded", 50)
    assert pay["lastRefundAt"] is not None
    assert await shop.post("refund", last) == (200, rest)
    status, no = await shop.post("refund", last | {"refundAmount": 1})
    assert (status, no["code"]) == (409, 9999)


async def test_a_new_number_on_a_wholly_refunded_pay_exceeds_it(shop: Shop) -> None:
    traction = await paid(shop)
    assert (await shop.post("refund", refund(traction)))[1]["data"]["status"] == "refunded"
    exceeds = "RefundOrderBusiness->create refundAmount exceed payAmount!!!!"
    for wish in (refund(traction), refund(traction, 1), refund(traction, 50, isCancel=1)):
        status, no = await shop.post("refund", wish)
        assert (status, no["code"], no["message"]) == (500, 9999, exceeds)
        _, listed = await shop.get("refundOrders", clientRefundNo=wish["clientRefundNo"])
        assert listed["size"] == 0
    _, answer = await shop.post("batchRefund", {"batchRefundData": [refund(traction)]})
    slot = answer["batchRefundResult"][0]
    assert (slot["statusCode"], slot["body"]["message"]) == (500, exceeds)


async def test_parallel_refunds_never_give_back_more_than_was_paid(shop: Shop) -> None:
    traction = await paid(shop)
    wishes = [refund(traction, 20) for _ in range(12)]
    answers = await asyncio.gather(*[shop.post("refund", one) for one in wishes])
    assert sorted(status for status, _ in answers) == [200] * 2 + [500] * 10
    assert (await pay_of(shop, traction))["refundAmount"] == 40
    given = [r.amount for r in shop.component.refunds.values()]
    assert len(given) >= 2


async def test_a_batch_of_refunds_of_one_pay_is_judged_in_order(shop: Shop) -> None:
    traction = await paid(shop)
    wishes = [refund(traction, 30), refund(traction, 30), refund(traction, 20), refund("1", 1)]
    _, answer = await shop.post("batchRefund", {"batchRefundData": wishes})
    slots = answer["batchRefundResult"]
    assert [one["statusCode"] for one in slots] == [200, 500, 200, 500]
    assert [one["clientRefundNo"] for one in slots] == [w["clientRefundNo"] for w in wishes]
    start = "RefundOrderBusiness->create payOrder not has exist!!! payTractionNo:1"
    assert slots[3]["body"]["message"] == start


async def test_a_cancel_is_for_eight_hours_a_refund_for_ever(shop: Shop) -> None:
    traction = await paid(shop)
    await shop.sql(
        """UPDATE pay_order SET pay_start_time = now() - interval '8 hours 1 minute',
            finish_time = now() - interval '8 hours 1 minute' WHERE traction_no = :n""",
        n=traction,
    )
    status, no = await shop.post("refund", refund(traction, isCancel=1))
    assert status == 500
    assert "has exceed cancel limit time ,can not canceled!!!" in no["message"]
    assert (await shop.post("refund", refund(traction, isCancel=0)))[0] == 200


async def test_only_what_is_payed_is_refunded(shop: Shop) -> None:
    wish = by_code(await shop.component_mode(), "1006")
    _, answer = await shop.post("pay", wish)
    status, no = await shop.post("refund", refund(answer["data"]["tractionNo"]))
    assert status == 500
    assert no["message"].endswith("payOrder status is invalid!!! payOrderObj.status:paying")


@pytest.mark.parametrize(("tail", "at_last"), [("2002", "refunded"), ("2003", "refunded")])
async def test_an_unknown_refund_is_refunding_until_the_component_says_more(
    shop: Shop, tail: str, at_last: str
) -> None:
    traction = await paid(shop, tail)
    status, answer = await shop.post("refund", refund(traction))
    assert (status, answer["data"]["status"]) == (200, "refunding")
    # It may have been given back, so it counts.
    assert (await shop.post("refund", refund(traction, 1)))[0] == 500

    async def ended() -> bool:
        return (await pay_of(shop, traction))["status"] == at_last

    await eventually(ended)
    assert shop.component.refunds[answer["data"]["tractionNo"]].calls == 1


async def test_a_failed_refund_frees_what_it_would_have_given_back(shop: Shop) -> None:
    traction = await paid(shop, "2001")
    status, no = await shop.post("refund", refund(traction))
    assert status == 500
    assert no["message"].startswith("RefundOrderBusiness->create refund Error:{")
    pay = await pay_of(shop, traction)
    assert (pay["status"], pay["refundAmount"]) == ("payed", 0)


async def test_an_asynchronous_refund_is_told_by_notify(shop: Shop) -> None:
    mode = await shop.component_mode(async_notify=True, query_url=None)
    wish = by_code(mode, "2002")
    _, answer = await shop.post("pay", wish)
    await ends(shop, wish, "payed")
    traction = answer["data"]["tractionNo"]
    _, back = await shop.post("refund", refund(traction))
    assert (back["businessRet"], back["data"]["status"]) == ("asyncOnlineRefund", "refunding")

    async def ended() -> bool:
        return (await pay_of(shop, traction))["status"] == "refunded"

    await eventually(ended)


async def test_what_is_payed_is_in_the_component_s_journal_with_its_amount(shop: Shop) -> None:
    rows = await shop.sql("""SELECT traction_no, amount_micros FROM pay_order
        WHERE method = 'component' AND status IN ('payed', 'partRefunded', 'refunded')""")
    journal = shop.component.pays
    assert rows
    forged = [n for n, micros in rows if n not in journal or journal[n].amount * 10_000 != micros]
    # Only the notify test pays without the component having taken it.
    assert all(journal[n].ends == "running" for n in forged if n in journal)
    assert [n for n in forged if n not in journal] == []


async def test_more_pays_than_may_wait_for_a_component_are_paid_one_after_the_other(
    shop: Shop,
) -> None:
    mode = await shop.component_mode()
    wishes = [body(mode, payAmount=1) for _ in range(400)]
    _, answer = await shop.post("batchPay", {"batchPayData": wishes})
    assert {one["statusCode"] for one in answer["batchPayResult"]} == {200}

    async def all_paid() -> bool:
        _, listed = await shop.get("payOrders", payModeUUID=mode.uuid, status="payed")
        return listed["size"] == len(wishes)

    await eventually(all_paid, 30, every_s=0.1)
    numbers = [one["body"]["data"]["tractionNo"] for one in answer["batchPayResult"]]
    assert {shop.component.pays[n].calls for n in numbers} == {1}


async def test_a_stored_secret_signs_new_notify_urls_and_those_of_before_stay_good(
    shop: Shop,
) -> None:
    mode = await shop.component_mode(async_notify=True, query_url=None)
    before, after = by_code(mode, "1006"), by_code(mode, "1006")
    await shop.post("pay", before)
    made = await Stored(shop.pay.port).issue("component", mode.template_id or mode.uuid)
    await shop.post("pay", after)
    number_, sign = await notify_url(shop, after)
    assert sign == protocol.sign(made.secret.encode(), "pay", number_)
    for wish in (before, after):
        number_, sign = await notify_url(shop, wish)
        told = {"tractionNo": number_, "ret": "success"}
        assert await shop.post(f"payNotify?sign={sign}", told) == (200, True)
        assert await status_of(shop, wish) == "payed"
