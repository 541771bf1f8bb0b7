"""Promises: documents are found, masked; looking deeper is recorded; erasing reaches all."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from grpc import aio

from shoudan.erp.v1 import erp_service_pb2 as pb
from shoudan_erp_ingest.app import compose
from shoudan_kit.clock import TurnedClock
from shoudan_kit.rpc.refusal import refused_from_rpc
from tests.erp_ingest.harness import CUSTOMER, REFUND, TRADE, ErpHarness, body, refund, trade

PHONE = "13912345678"


async def found(harness: ErpHarness, **filters: Any) -> list[str]:
    answer = await harness.stub.SearchTrades(pb.SearchTradesRequest(filter=pb.Filter(**filters)))
    return sorted(one.no for one in answer.trades)


async def found_refunds(harness: ErpHarness, **filters: Any) -> list[str]:
    answer = await harness.stub.SearchRefunds(pb.SearchRefundsRequest(filter=pb.Filter(**filters)))
    return sorted(one.no for one in answer.refunds)


async def test_documents_are_found_by_everything_documented(harness: ErpHarness) -> None:
    await harness.push(
        body(trade(tid="T1", receiver_mobile=PHONE)),
        body(trade(tid="T2", status="WAIT_BUYER_PAY", seller_uname="红岛")),
    )
    one, two = refund(refund_no="R1", tid="T1", swap_mobile=PHONE), refund(refund_no="R2")
    await harness.push(body(one), body(two), kind=REFUND)
    assert await found(harness) == ["T1", "T2"]
    assert await found(harness, tid="T1") == ["T1"]
    assert await found(harness, phone="+86 139 1234 5678") == ["T1"]
    assert await found(harness, status="WAIT_BUYER_PAY") == ["T2"]
    assert await found(harness, shop="红岛", sender=CUSTOMER) == ["T2"]
    assert await found(harness, sender="Other") == []
    now = (await harness.rows("trade"))[0]["update_time"]
    assert await found(harness, start_time=now + timedelta(seconds=1)) == []
    assert await found(harness, end_time=now + timedelta(seconds=1)) == ["T1", "T2"]
    assert await found_refunds(harness, phone=PHONE) == ["R1"]
    assert await found_refunds(harness, tid="T1") == ["R1"]
    assert await found_refunds(harness, refund_no="R2", shop="api_test", status="5") == ["R2"]
    assert await found_refunds(harness, shop="API公共测试") == ["R1", "R2"]


async def test_pages_and_export_show_each_document_once(harness: ErpHarness) -> None:
    await harness.push(*(body(trade(tid=f"T{n:02}")) for n in range(23)))
    token, pages = "", []
    for _ in range(6):
        request = pb.SearchTradesRequest(page_size=5, page_token=token)
        answer = await harness.stub.SearchTrades(request)
        pages.append([one.no for one in answer.trades])
        token = answer.next_page_token
        if not token:
            break
    assert [len(page) for page in pages] == [5, 5, 5, 5, 3]
    assert len({no for page in pages for no in page}) == 23
    streamed = [
        one.no
        async for some in harness.stub.ExportTrades(pb.ExportTradesRequest())
        for one in some.trades
    ]
    assert streamed == [no for page in pages for no in page][::-1]


async def test_searches_that_make_no_sense_are_refused(harness: ErpHarness) -> None:
    requests = (
        pb.SearchTradesRequest(page_size=1001),
        pb.SearchTradesRequest(page_token="x"),
        pb.SearchTradesRequest(filter=pb.Filter(phone="1")),
    )
    for request in requests:
        with pytest.raises(aio.AioRpcError) as told:
            await harness.stub.SearchTrades(request)
        refused = refused_from_rpc(told.value)
        assert refused is not None
        assert refused.reason == "ERROR_REASON_FIELD_INVALID"


async def test_lists_are_masked_and_a_reveal_is_recorded(harness: ErpHarness) -> None:
    await harness.push(body(trade(tid="T1", receiver_mobile=PHONE, receiver_name="王小明")))
    (row,) = await harness.rows("trade")
    shown = await harness.trade("T1")
    assert (shown["receiver_mobile"], shown["receiver_name"]) == ("139****5678", "王**")
    assert PHONE not in json.dumps(shown)
    request = pb.RevealRequest(kind=TRADE, id=row["document_id"], by="li", reason="a complaint")
    fields = (await harness.stub.Reveal(request)).fields
    assert (fields["receiver_mobile"], fields["receiver_name"]) == (PHONE, "王小明")
    assert fields["payment_lists[0].buy_name"] == "巴黎新疆安康"
    (line,) = await harness.rows("audit")
    assert (line["action"], line["actor"], line["reason"]) == ("reveal", "li", "a complaint")
    for bad in (
        pb.RevealRequest(kind=TRADE, id=row["document_id"], by="li"),
        pb.RevealRequest(kind=REFUND, id=1, by="li", reason="x"),
    ):
        with pytest.raises(aio.AioRpcError):
            await harness.stub.Reveal(bad)
    assert len(await harness.rows("audit")) == 1


async def test_a_raw_body_is_given_back_byte_for_byte(harness: ErpHarness) -> None:
    raw = b"\n " + body(trade(tid="T1")) + b"\t\r\n"
    (result,) = await harness.push(raw)
    request = pb.RevealPushRequest(push_id=result.push_id, by="li", reason="x")
    assert (await harness.stub.RevealPush(request)).body == raw
    digest = pb.CheckPushesRequest.Digest
    asked = [
        digest(kind=TRADE, sender=CUSTOMER, sha256=hashlib.sha256(b).digest()) for b in (raw, b"")
    ]
    checked = (await harness.stub.CheckPushes(pb.CheckPushesRequest(digests=asked))).results
    assert [(c.push_id, c.stored, c.intact) for c in checked] == [
        (result.push_id, True, True),
        (0, False, False),
    ]


async def test_erasing_a_person_reaches_rows_history_and_raw_bodies(harness: ErpHarness) -> None:
    await harness.push(body(trade(tid="T1", receiver_mobile=PHONE)))
    await harness.push(body(trade(tid="T1", receiver_mobile=PHONE, trade_memo="more")))
    await harness.push(
        body({**trade(tid="T1", receiver_mobile=PHONE, trade_memo="more"), "msg_id": 9})
    )
    await harness.push(body(refund(refund_no="R1", return_mobile=PHONE)), kind=REFUND)
    await harness.push(b'{"data": {"receiver_mobile": "%s"}}' % PHONE.encode())
    await harness.push(body(trade(tid="T2")))
    request = pb.EraseSubjectRequest(phone=PHONE, by="li", reason="asked to")
    assert (await harness.stub.EraseSubject(request)).documents == 2
    sealed = {
        table: [row["sealed"] is not None for row in await harness.rows(table)]
        for table in ("trade", "payment", "refund", "refund_line", "push")
    }
    assert sealed == {
        "trade": [False, True],
        "payment": [False, True],
        "refund": [False],
        "refund_line": [False],
        "push": [False, False, False, False, False, True],
    }
    snapshots = json.dumps([row["snapshot"] for row in await harness.rows("history")])
    assert '"sealed": "' not in snapshots
    assert await found(harness, phone=PHONE) == []
    assert (await harness.trade("T1"))["receiver_mobile"] is None
    assert (await harness.trade("T1"))["total_trade_fee"] == "18"
    assert (await harness.stub.EraseSubject(request)).documents == 0


async def test_quarantined_pushes_are_listed_and_tried_again(harness: ErpHarness) -> None:
    bad = body(trade(tid=""))
    (first,) = await harness.push(bad)
    (again,) = await harness.push(bad)
    assert first.push_id == again.push_id
    (listed,) = (await harness.stub.ListQuarantined(pb.ListQuarantinedRequest())).pushes
    assert (listed.push_id, listed.reason, listed.sender) == (
        first.push_id,
        "data.tid: missing",
        CUSTOMER,
    )
    answer = await harness.stub.Reprocess(pb.ReprocessRequest())
    assert (answer.stored, answer.quarantined) == (0, 1)


async def test_a_push_quarantined_by_a_bug_is_stored_once_it_is_mended(
    harness: ErpHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shoudan_erp_ingest import normalising

    def broken(raw: bytes) -> Any:
        raise KeyError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(normalising, "trades", broken)
        (result,) = await harness.push(body(trade(tid="T1")))
    assert result.refusal.metadata["why"] == "internal"
    answer = await harness.stub.Reprocess(pb.ReprocessRequest(push_ids=[result.push_id]))
    assert (answer.stored, answer.quarantined) == (1, 0)
    assert (await harness.trade("T1"))["tid"] == "T1"
    assert (await harness.rows("push"))[0]["status"] == 0


async def test_raw_pushes_are_forgotten_when_their_time_is_over(harness: ErpHarness) -> None:
    await harness.push(body(trade(tid="T1")), b"broken 13912345678")
    retention = compose(harness.process.app).retention
    assert await retention.clear() == 0
    clock = TurnedClock(harness.process.app.clock.now())
    clock.advance(181 * 86_400)
    assert await replace(retention, clock=clock).clear() == 2
    assert (await harness.counts())["push"] == 0
    assert (await harness.trade("T1"))["tid"] == "T1"


async def test_the_audit_can_only_be_added_to(harness: ErpHarness) -> None:
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError

    for sql in ("DELETE FROM audit", "UPDATE audit SET reason = ''"):
        async with harness.process.app.db.connect() as db:
            with pytest.raises(DBAPIError, match="permission denied"):
                await db.execute(text(sql))
