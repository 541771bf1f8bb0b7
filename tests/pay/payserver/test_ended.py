"""Promises of what ended on a day: each result once, whatever followed it, and what a person corrected."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from grpc import aio

from shoudan.pay.v1 import payment_service_pb2 as pb
from shoudan.pay.v1 import payment_service_pb2_grpc as stubs
from shoudan_kit.clock import BEIJING
from shoudan_pay.payserver.store import ended
from tests.pay.payserver.harness import PayserverHarness, by_code, number, on_account
from tests.pay.payserver.test_open_work import decide, lost, taken


async def listed(harness: PayserverHarness, day: str, size: int = 1) -> list[pb.EndedPay]:
    found: list[pb.EndedPay] = []
    async with aio.insecure_channel(f"127.0.0.1:{harness.pay.port}") as channel:
        request = pb.ListEndedPaysRequest(day=day, page_size=size)
        while True:
            page = await stubs.PaymentServiceStub(channel).ListEndedPays(request)
            found += page.pays
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found


async def refused(harness: PayserverHarness, **given: Any) -> str:
    async with aio.insecure_channel(f"127.0.0.1:{harness.pay.port}") as channel:
        with pytest.raises(aio.AioRpcError) as no:
            await stubs.PaymentServiceStub(channel).ListEndedPays(pb.ListEndedPaysRequest(**given))
    return str(no.value.details())


async def test_each_result_is_listed_once_in_pages_of_any_size(
    harness: PayserverHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    mode = await harness.component_mode(query_url=None, channel="wechat")
    pay = await taken(harness, "pay", by_code(mode, "2003"))
    wish = {"payTractionNo": pay, "clientRefundNo": number("r"), "refundAmount": 20}
    credit = await harness.mode()
    key = await harness.account(credit, fen=100)
    ours = await taken(harness, "pay", on_account(credit, key))
    back = {"payTractionNo": ours, "clientRefundNo": number("r"), "refundAmount": 20}
    given_back = await taken(harness, "refund", back)
    unknown = await lost(harness)
    await decide(harness, "pay", unknown, "failed")
    today = datetime.now(UTC).astimezone(BEIJING)
    day = today.date().isoformat()
    assert "not over" in await refused(harness, day=day)

    async def later(_: Any) -> datetime:
        return today + timedelta(days=1, hours=1)

    monkeypatch.setattr(ended, "now", later)
    found = await listed(harness, day)
    assert found == await listed(harness, day, 1000)
    by_number = {one.traction_no: one for one in found}
    assert len(by_number) == len(found)
    one = by_number[pay]
    assert (one.ended_kind, one.succeeded, one.component) == (pb.ENDED_KIND_PAY, True, "wechat")
    assert (one.amount_micros, one.moved_micros) == (500_000, 500_000)
    assert (by_number[ours].component, by_number[ours].succeeded) == ("", True)
    refund = by_number[given_back]
    assert (refund.ended_kind, refund.pay_traction_no) == (pb.ENDED_KIND_REFUND, ours)
    assert (refund.client_no, refund.moved_micros) == (back["clientRefundNo"], 200_000)
    failed = by_number[unknown]
    assert (failed.succeeded, failed.moved_micros) == (False, 0)
    assert wish["payTractionNo"] == pay


async def test_what_names_no_day_or_page_is_refused(harness: PayserverHarness) -> None:
    day = "2020-01-31"
    for given in (
        *({"day": one} for one in ("", "20200131", "1999-12-31", "9999-12-31")),
        *({"day": day, "page_token": one} for one in ("x", "1", "1.x", "9" * 18 + ".1", "1.1")),
        {"day": day, "page_size": 1001},
    ):
        assert await refused(harness, **given), given
    assert await listed(harness, day) == []
