"""Promises of amounts told from outside: another one than asked is never booked, and waits for a person."""

from __future__ import annotations

import pytest

from tests.pay.payserver.harness import PayserverHarness, by_code, number
from tests.pay.payserver.test_open_work import becomes_parked, decide, row_of, waiting
from tests.poll import eventually


@pytest.mark.parametrize(
    ("code", "query", "asynchronous"),
    [("1016", None, False), ("1017", "query", False), ("1018", None, True)],
    ids=["answer", "query", "notify"],
)
async def test_a_pay_told_with_another_amount_waits_for_a_person_and_is_booked_as_asked(
    harness: PayserverHarness, code: str, query: str | None, asynchronous: bool
) -> None:
    url = f"{harness.component.url}/{query}" if query else None
    mode = await harness.component_mode(query_url=url, async_notify=asynchronous)
    _, paid = await harness.post("pay", by_code(mode, code))
    traction = str(paid["data"]["tractionNo"])
    await becomes_parked(harness, "pay_order", traction)
    status, _, reason = await row_of(harness, "pay_order", traction)
    assert (status, reason) == ("paying", "was told amount 49 分 for 50 分: not booked")
    item = await waiting(harness, "pay", traction)
    assert item is not None
    assert "conflict:amount 49 分 for 50 分" in item.evidence
    assert item.evidence.count("conflict:") == 1  # however often it is told
    events = "SELECT 1 FROM event WHERE key = :n AND subject = 'shoudan.events.pay.pay.conflict'"
    assert len(await harness.sql(events, n=traction)) == 1
    await decide(harness, "pay", traction, "success")
    (amount,) = await harness.sql(
        "SELECT amount_micros FROM pay_order WHERE traction_no=:n", n=traction
    )
    assert (await row_of(harness, "pay_order", traction))[0] == "payed"
    assert amount == (500_000,)


async def test_a_refund_told_with_another_amount_waits_for_a_person(
    harness: PayserverHarness,
) -> None:
    _, paid = await harness.post(
        "pay", by_code(await harness.component_mode(query_url=None), "2004")
    )
    wish = {"payTractionNo": paid["data"]["tractionNo"], "clientRefundNo": number("r")}
    _, back = await harness.post("refund", wish | {"refundAmount": 20})
    traction = str(back["data"]["tractionNo"])
    await becomes_parked(harness, "refund_order", traction)
    status, _, reason = await row_of(harness, "refund_order", traction)
    assert (status, reason) == ("refunding", "was told amount 49 分 for 20 分: not booked")
    pay = await row_of(harness, "pay_order", str(paid["data"]["tractionNo"]))
    assert pay[0] == "payed"


async def test_an_amount_that_agrees_ends_a_pay(harness: PayserverHarness) -> None:
    mode = await harness.component_mode(query_url=None, async_notify=True)
    _, paid = await harness.post("pay", by_code(mode, "1006"))
    traction = str(paid["data"]["tractionNo"])

    async def asked() -> bool:
        return any(one["tractionNo"] == traction for one in harness.component.bodies)

    await eventually(asked)
    (url,) = {b["notifyUrl"] for b in harness.component.bodies if b["tractionNo"] == traction}
    for wrong in (True, [1], 10**30, "x"):
        told = {"tractionNo": traction, "ret": "success", "payAmount": wrong}
        async with harness.http.post(url, json=told) as answer:
            assert answer.status == 400
    for amount in (50, 50.0):
        told = {"tractionNo": traction, "ret": "success", "payAmount": amount}
        async with harness.http.post(url, json=told) as answer:
            assert answer.status == 200
    assert (await row_of(harness, "pay_order", traction))[:2] == ("payed", False)
