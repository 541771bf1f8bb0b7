"""Promises of amounts told from outside: another one than asked is never booked, and waits for a person."""

from __future__ import annotations

import pytest

from tests.pay.payserver.shop import Shop, by_code, number
from tests.pay.payserver.test_open_work import becomes_parked, decide, row_of, waiting
from tests.poll import eventually


@pytest.mark.parametrize(
    ("code", "query", "asynchronous"),
    [("1016", None, False), ("1017", "query", False), ("1018", None, True)],
    ids=["answer", "query", "notify"],
)
async def test_a_pay_told_with_another_amount_waits_for_a_person_and_is_booked_as_asked(
    shop: Shop, code: str, query: str | None, asynchronous: bool
) -> None:
    url = f"{shop.component.url}/{query}" if query else None
    mode = await shop.component_mode(query_url=url, async_notify=asynchronous)
    _, paid = await shop.post("pay", by_code(mode, code))
    traction = str(paid["data"]["tractionNo"])
    await becomes_parked(shop, "pay_order", traction)
    status, _, reason = await row_of(shop, "pay_order", traction)
    assert (status, reason) == ("paying", "was told amount 49 分 for 50 分: not booked")
    item = await waiting(shop, "pay", traction)
    assert item is not None
    assert "conflict:amount 49 分 for 50 分" in item.evidence
    assert item.evidence.count("conflict:") == 1  # however often it is told
    events = "SELECT 1 FROM event WHERE key = :n AND subject = 'shoudan.events.pay.pay.conflict'"
    assert len(await shop.sql(events, n=traction)) == 1
    await decide(shop, "pay", traction, "success")
    (amount,) = await shop.sql(
        "SELECT amount_micros FROM pay_order WHERE traction_no=:n", n=traction
    )
    assert (await row_of(shop, "pay_order", traction))[0] == "payed"
    assert amount == (500_000,)


async def test_a_refund_told_with_another_amount_waits_for_a_person(shop: Shop) -> None:
    _, paid = await shop.post("pay", by_code(await shop.component_mode(query_url=None), "2004"))
    wish = {"payTractionNo": paid["data"]["tractionNo"], "clientRefundNo": number("r")}
    _, back = await shop.post("refund", wish | {"refundAmount": 20})
    traction = str(back["data"]["tractionNo"])
    await becomes_parked(shop, "refund_order", traction)
    status, _, reason = await row_of(shop, "refund_order", traction)
    assert (status, reason) == ("refunding", "was told amount 49 分 for 20 分: not booked")
    pay = await row_of(shop, "pay_order", str(paid["data"]["tractionNo"]))
    assert pay[0] == "payed"


async def test_an_amount_that_agrees_ends_a_pay(shop: Shop) -> None:
    mode = await shop.component_mode(query_url=None, async_notify=True)
    _, paid = await shop.post("pay", by_code(mode, "1006"))
    traction = str(paid["data"]["tractionNo"])

    async def asked() -> bool:
        return any(one["tractionNo"] == traction for one in shop.component.bodies)

    await eventually(asked)
    (url,) = {b["notifyUrl"] for b in shop.component.bodies if b["tractionNo"] == traction}
    for wrong in (True, [1], 10**30, "x"):
        told = {"tractionNo": traction, "ret": "success", "payAmount": wrong}
        async with shop.http.post(url, json=told) as answer:
            assert answer.status == 400
    for amount in (50, 50.0):
        told = {"tractionNo": traction, "ret": "success", "payAmount": amount}
        async with shop.http.post(url, json=told) as answer:
            assert answer.status == 200
    assert (await row_of(shop, "pay_order", traction))[:2] == ("payed", False)
