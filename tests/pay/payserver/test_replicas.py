"""Promises of two pay services on one database: one key is one pay and one refund, however it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from shoudan_gateway.app import ports
from shoudan_kit.service import Process
from shoudan_pay.app import SERVICE
from tests.pay.payserver.harness import PayserverHarness, body, by_code, gateway, number, on_account
from tests.poll import own_time


@pytest.fixture(scope="module")
async def twin(harness: PayserverHarness) -> AsyncIterator[PayserverHarness]:
    """The same shop through a gateway and a pay service of its own."""
    pay = Process(SERVICE, harness.pay.settings)
    await pay.start()
    door = gateway(f"127.0.0.1:{pay.port}")
    await door.start()
    url = f"http://127.0.0.1:{ports(door.running)[0]}"
    yield PayserverHarness(pay, url, harness.http, harness.component, harness.ledger, harness.owner)
    await door.stop()
    await pay.stop()


async def test_the_same_pay_at_both_is_one_ledger_effect(
    harness: PayserverHarness, twin: PayserverHarness
) -> None:
    mode = await harness.mode()
    key = await harness.account(mode, credit_fen=10_000)
    wishes = [on_account(mode, key) for _ in range(10)]
    asked = [s.post("pay", w) for _ in range(5) for s in (harness, twin) for w in wishes]
    answers = await asyncio.gather(*asked)
    assert {status for status, _ in answers} == {200}
    by_number = {a["data"]["clientPayNo"]: a for _, a in answers}
    assert all(a == by_number[a["data"]["clientPayNo"]] for _, a in answers)
    assert await harness.balance_fen(key) == -500


async def test_the_same_batches_at_both_are_one_ledger_effect(
    harness: PayserverHarness, twin: PayserverHarness
) -> None:
    mode = await harness.mode()
    key = await harness.account(mode, credit_fen=10_000)
    wishes = [on_account(mode, key, payAmount=1) for _ in range(100)]
    forth, back = {"batchPayData": wishes}, {"batchPayData": wishes[::-1]}
    answers = await asyncio.gather(
        *[s.post("batchPay", b) for s in (harness, twin) for b in (forth, back)]
    )
    slots = [one for _, answer in answers for one in answer["batchPayResult"]]
    assert {one["statusCode"] for one in slots} == {200}
    assert len({one["body"]["data"]["tractionNo"] for one in slots}) == 100
    assert await harness.balance_fen(key) == -100


async def test_the_same_pay_at_both_calls_the_component_once(
    harness: PayserverHarness, twin: PayserverHarness
) -> None:
    wish = body(await harness.component_mode())
    answers = await asyncio.gather(
        *[s.post("pay", wish) for _ in range(20) for s in (harness, twin)]
    )
    assert {answer["data"]["status"] for _, answer in answers} <= {"paying", "payed"}
    (traction,) = {answer["data"]["tractionNo"] for _, answer in answers}
    assert harness.component.pays[traction].calls == 1
    assert (await twin.post("pay", wish))[1]["data"]["status"] == "payed"


async def test_a_repeat_at_the_other_waits_for_what_the_first_is_told(
    harness: PayserverHarness, twin: PayserverHarness
) -> None:
    wish = body(await harness.component_mode())
    harness.component.slow_s = 0.1
    try:
        paid = await asyncio.gather(*(s.post("pay", wish) for s in (harness, twin)))
        traction = paid[0][1]["data"]["tractionNo"]
        back = {"payTractionNo": traction, "clientRefundNo": number("r"), "refundAmount": 20}
        first, again = await asyncio.gather(*(s.post("refund", back) for s in (harness, twin)))
    finally:
        harness.component.slow_s = 0.0
    assert paid[0] == paid[1]
    assert paid[0][1]["data"]["status"] == "payed"
    assert first == again
    assert first[1]["data"]["status"] == "refunded"
    assert harness.component.refunds[first[1]["data"]["tractionNo"]].calls == 1


async def test_a_repeat_at_the_other_waits_no_longer_than_a_call_takes(
    harness: PayserverHarness, twin: PayserverHarness
) -> None:
    wish = by_code(await harness.component_mode(query_url=None), "1004")
    answers = await asyncio.gather(*(s.post("pay", wish) for s in (harness, twin)))
    assert {answer["data"]["status"] for _, answer in answers} == {"paying"}
    async with own_time() as took:
        assert (await twin.post("pay", wish))[1]["data"]["status"] == "paying"
        assert took() < 2.5


async def test_refunds_at_both_never_exceed_the_pay(
    harness: PayserverHarness, twin: PayserverHarness
) -> None:
    mode = await harness.mode()
    key = await harness.account(mode, credit_fen=1000)
    _, paid = await harness.post("pay", on_account(mode, key))
    traction, same = paid["data"]["tractionNo"], number("r")
    wishes = [
        {"payTractionNo": traction, "clientRefundNo": same, "refundAmount": 20},
        *[
            {"payTractionNo": traction, "clientRefundNo": number("r"), "refundAmount": 20}
            for _ in range(5)
        ],
    ]
    answers = await asyncio.gather(*[s.post("refund", w) for s in (harness, twin) for w in wishes])
    given = {a["data"]["tractionNo"] for status, a in answers if status == 200}
    assert len(given) == 2
    assert await harness.balance_fen(key) == -10
