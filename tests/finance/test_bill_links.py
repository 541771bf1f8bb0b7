"""Promises of links to bills: one file, for a while, for what holds the token."""

from __future__ import annotations

import csv
from datetime import timedelta
from typing import Any

import pytest
from grpc import aio

from shoudan.finance.v1 import bill_service_pb2 as pb
from shoudan_finance import bill_links, bill_making
from shoudan_finance.bill_files import HEADER, SUMS, BillInvalid
from shoudan_finance.store import bill_links as store
from shoudan_kit.rpc.refusal import refused_from_rpc
from tests.finance.harness import FinanceHarness
from tests.finance.test_trade_books import refused
from tests.pay.ledger.harness import YUAN
from tests.poll import eventually


async def linked(harness: FinanceHarness, **more: Any) -> pb.GetBillLinkResponse:
    """The link when there is one."""
    request = pb.GetBillLinkRequest(bill=pb.MakeBillRequest(kind="fund", **more), link_s=60)
    found: list[pb.GetBillLinkResponse] = []

    async def there() -> bool:
        found[:] = [await harness.bill_stub.GetBillLink(request)]
        return found[0].token != ""

    await eventually(there)
    return found[0]


async def fetched(harness: FinanceHarness, token: str) -> tuple[int, bytes]:
    stream = harness.bill_stub.DownloadBill(pb.DownloadBillRequest(token=token))
    parts = [part async for part in stream]
    return parts[0].total_bytes, b"".join(part.body for part in parts)


async def gone(harness: FinanceHarness, token: str) -> str:
    with pytest.raises(aio.AioRpcError) as raised:
        await fetched(harness, token)
    found = refused_from_rpc(raised.value)
    assert found is not None
    return found.reason.removeprefix("ERROR_REASON_")


async def test_a_link_gives_the_file_until_it_expires(
    harness: FinanceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await harness.ledger.account(10 * YUAN)
    day = await harness.close_day()
    waiting = pb.GetBillLinkRequest(
        bill=pb.MakeBillRequest(kind="fund", eid=key.eid, first_day=str(day))
    )
    assert not (await harness.bill_stub.GetBillLink(waiting)).HasField("bill")
    await harness.completed(day)
    one = await linked(harness, eid=key.eid, first_day=str(day))
    two = await linked(harness, eid=key.eid, first_day=str(day))
    assert one.bill == two.bill
    assert one.token != two.token
    assert one.bill.ident == "oms"
    size, body = await fetched(harness, one.token)
    assert (size, size) == (one.bill.bytes, len(body))
    stored = await harness.sql("SELECT digest FROM bill_link")
    assert one.token.encode() not in b"".join(row["digest"] for row in stored)
    # A minute and a moment later, by the clock of the database.
    past = "UPDATE bill_link SET expire_time = expire_time - $1::interval"
    await harness.sql(past, timedelta(seconds=61))
    assert await gone(harness, one.token) == "BILL_LINK_NOT_FOUND"
    again = "INSERT INTO bill_link SELECT digest || $1, bill_id, create_time, expire_time FROM bill_link"
    for mark in (b"1", b"2"):
        await harness.sql(again, mark)
    monkeypatch.setattr(store, "PURGED_MAX", 3)  # links may be made faster than days are followed
    await bill_links.purge(harness.context)
    assert await harness.sql("SELECT digest FROM bill_link") == []


async def test_a_channel_that_never_moved_has_a_bill_without_rows(harness: FinanceHarness) -> None:
    await harness.ledger.account(10 * YUAN)
    day = await harness.close_day()
    await harness.completed(day)
    one = await linked(harness, eid="new-channel", groups="down_", first_day=str(day))
    assert one.bill.rows == 0
    _, body = await fetched(harness, one.token)
    assert list(csv.reader(body.decode().splitlines())) == [list(HEADER), list(SUMS)]


async def test_a_process_that_was_held_up_fails_no_bill_that_another_makes(
    harness: FinanceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await harness.ledger.account(10 * YUAN)
    day = await harness.close_day()
    await harness.completed(day)
    made, calls = bill_making.make, list[int]()

    async def held_up(context: Any, bill: Any, keep: Any) -> Any:
        calls.append(bill.bill_id)
        if len(calls) > 1:
            return await made(context, bill, keep)
        await harness.sql("UPDATE bill SET attempt = attempt + 1 WHERE bill_id = $1", bill.bill_id)
        raise BillInvalid("what it read is not so any more")

    monkeypatch.setattr(bill_making, "make", held_up)
    asked = pb.MakeBillRequest(kind="fund", ident="oms", eid=key.eid, first_day=str(day))
    bill = (await harness.bill_stub.MakeBill(asked)).bill

    async def published() -> bool:
        found = (await harness.bill_stub.GetBill(pb.GetBillRequest(bill_id=bill.bill_id))).bill
        assert found.status != pb.BILL_STATUS_FAILED
        return found.status == pb.BILL_STATUS_PUBLISHED

    await eventually(published)
    assert calls == [bill.bill_id] * 2


@pytest.mark.parametrize("token", ["", "x", "t" * 43, "t" * 65, "账单"])
async def test_a_token_that_is_none_gives_nothing(harness: FinanceHarness, token: str) -> None:
    assert await gone(harness, token) == "BILL_LINK_NOT_FOUND"


async def test_a_link_is_good_for_a_day_at_most(harness: FinanceHarness) -> None:
    bill = pb.MakeBillRequest(kind="fund", eid="x", first_day="2026-11-20")
    for seconds in (-1, 86_401):
        request = pb.GetBillLinkRequest(bill=bill, link_s=seconds)
        assert await refused(harness.bill_stub.GetBillLink(request)) == "FIELD_INVALID"


async def test_a_channel_s_link_is_of_its_own_accounts_whatever_is_asked_for(
    harness: FinanceHarness,
) -> None:
    key = await harness.ledger.account(10 * YUAN)
    day = await harness.close_day()
    await harness.completed(day)
    asked = pb.MakeBillRequest(
        kind="fund", ident="payserver", groups="up_", eid="sup9", first_day=str(day)
    )
    found: list[pb.GetBillLinkResponse] = []

    async def there() -> bool:
        request = pb.GetChannelBillLinkRequest(channel_no=key.eid, bill=asked)
        found[:] = [(await harness.bill_stub.GetChannelBillLink(request)).link]
        return found[0].token != ""

    await eventually(there)
    bill = found[0].bill
    assert (bill.eid, bill.ident, bill.groups) == (key.eid, "oms", "down_")
    for channel_no, code in ((key.eid, ""), ("sup9", "BILL_LINK_NOT_FOUND")):
        token = pb.DownloadBillRequest(token=found[0].token, channel_no=channel_no)
        stream = harness.bill_stub.DownloadBill(token)
        if code:
            assert await refused(stream.read()) == code
        else:
            assert b"".join([part.body async for part in stream])
    for kind in ("supply", ""):
        request = pb.GetChannelBillLinkRequest(channel_no=key.eid, bill=asked)
        request.bill.kind = kind
        assert await refused(harness.bill_stub.GetChannelBillLink(request)) == "FIELD_INVALID"


async def test_a_fund_bill_of_a_supplier_with_the_same_number_is_not_the_channel_s(
    harness: FinanceHarness,
) -> None:
    key = await harness.ledger.account(10 * YUAN)
    day = await harness.close_day()
    await harness.completed(day)
    one = await linked(harness, eid=key.eid, groups="up_", first_day=str(day))
    token = pb.DownloadBillRequest(token=one.token, channel_no=key.eid)
    assert await refused(harness.bill_stub.DownloadBill(token).read()) == "BILL_LINK_NOT_FOUND"


def of_supplier(eid: str, day: Any, **more: Any) -> pb.GetSupplierBillLinkRequest:
    bill = pb.MakeBillRequest(kind="supply", eid=eid, first_day=str(day), **more)
    return pb.GetSupplierBillLinkRequest(
        bill=bill,
        method="GET",
        path="/vds/bill/trade",
        params={"channel_no": eid, "sign": "00ff"},
        remote_ip="10.0.0.1",
    )


async def test_a_supplier_that_signed_gets_its_own_bills_alone(harness: FinanceHarness) -> None:
    day = await harness.close_day()
    await harness.completed(day)
    await harness.agreed(day)
    door, found = harness.door, list[pb.GetBillLinkResponse]()

    async def there() -> bool:
        answer = await harness.bill_stub.GetSupplierBillLink(of_supplier("sup9", day))
        found[:] = [answer.link]
        return answer.link.token != ""

    await eventually(there)
    assert (found[0].bill.kind, found[0].bill.eid) == ("supply", "sup9")
    assert (await fetched(harness, found[0].token))[0] == found[0].bill.bytes
    seen = door.calls[-1]
    assert (seen.channel_no, seen.path, seen.remote_ip) == ("sup9", "/vds/bill/trade", "10.0.0.1")
    assert dict(seen.params) == {"channel_no": "sup9", "sign": "00ff"}
    # Neither a channel's bill, nor one of everyone, nor one of other accounts.
    count = len(door.calls)
    for wrong in (
        {"kind": "trade", "eid": "sup9"},
        {"kind": "supply", "eid": ""},
        {"kind": "fund", "eid": "sup9", "groups": "down_"},
        {"kind": "fund", "eid": "sup9"},
    ):
        request = of_supplier("sup9", day)
        request.bill.CopyFrom(pb.MakeBillRequest(first_day=str(day), **wrong))
        assert await refused(harness.bill_stub.GetSupplierBillLink(request)) == "FIELD_INVALID"
    assert len(door.calls) == count
    door.refuses = True
    call = harness.bill_stub.GetSupplierBillLink(of_supplier("sup9", day))
    assert await refused(call) == "NOTIFY_UNVERIFIED"
    door.refuses = False
