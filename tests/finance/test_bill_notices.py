"""Promises of notices of bills: one for each, of the channel's own accounts, until it is taken."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from shoudan.finance.v1 import bill_service_pb2 as pb
from shoudan.finance.v1 import bill_service_pb2_grpc as stubs
from shoudan.order.v1 import channel_service_pb2 as channel_pb
from shoudan_finance import bill_commands
from shoudan_finance.states import BillStatus
from shoudan_kit.embedded import DatabaseUrls
from tests.finance.harness import FinanceHarness, opened
from tests.finance.process import FinanceProcess
from tests.finance.test_bill_links import fetched
from tests.pay.ledger.harness import YUAN, LedgerHarness
from tests.poll import eventually

PUBLIC = "https://pay.example.com"
DIED = 137


@pytest.fixture(scope="module")
async def noticed(
    database: Callable[[str], Awaitable[DatabaseUrls]], ledger: LedgerHarness
) -> AsyncIterator[FinanceHarness]:
    """A finance service that knows its gateway's address and tries again after a second."""
    more: dict[str, Any] = {"public_url": PUBLIC, "notice_waits_s": [1]}
    async with opened(await database("finance"), ledger, **more) as made:
        yield made


async def billed(harness: FinanceHarness, eid: str, day: date, kind: str = "fund") -> None:
    """Have a bill made as the daily ones are."""
    ident = {"ident": "oms"} if kind == "fund" else {}
    request = pb.MakeBillRequest(kind=kind, eid=eid, first_day=str(day), **ident)
    await harness.bill_stub.MakeBill(request)


async def closed(harness: FinanceHarness) -> tuple[str, date]:
    """A channel whose account moved on a day that is complete; its supplier has the same number."""
    key = await harness.ledger.account(10 * YUAN)
    day = await harness.close_day()
    await harness.completed(day)
    return key.eid, day


async def test_a_channel_is_notified_of_its_own_bill_with_a_link_that_works(
    noticed: FinanceHarness,
) -> None:
    eid, day = await closed(noticed)
    await billed(noticed, eid, day)
    await eventually(lambda: len(noticed.channels.of(eid)) == 1, 20)
    (told,) = noticed.channels.of(eid)
    assert (told["event"], told["type"], told["bill_date"]) == ("bill_ready", "fund", str(day))
    assert "down_" in told["file"]  # never the accounts of a supplier with the same number
    start = f"{PUBLIC}/bill/file/"
    assert told["url"].startswith(start)
    token, _, file = told["url"].removeprefix(start).partition("/")
    assert file == told["file"]
    size, body = await fetched(noticed, token)
    assert (size, hashlib.sha256(body).hexdigest()) == (told["bytes"], told["sha256"])
    listed = await noticed.run("notices", app=bill_commands.app)
    assert f"to {eid}: acknowledged" in listed.stdout
    keys = {one.key for one in noticed.channels.sent if one.channel_no == eid}
    assert keys == {f"bill_{(await bills_of(noticed, eid))[0]}"}


async def bills_of(harness: FinanceHarness, eid: str) -> list[int]:
    """The bills that a channel is notified of."""
    rows = await harness.sql("SELECT bill_id FROM bill_notice WHERE channel_no = $1", eid)
    return [row[0] for row in rows]


async def test_it_comes_again_until_it_is_acknowledged(noticed: FinanceHarness) -> None:
    eid, day = await closed(noticed)
    noticed.channels.results[eid] = channel_pb.NOTICE_RESULT_NOT_ACKNOWLEDGED
    await billed(noticed, eid, day)
    await eventually(lambda: len(noticed.channels.of(eid)) >= 2, 20)
    page = await noticed.bill_stub.ListNotices(pb.ListNoticesRequest())
    (shown,) = [one for one in page.notices if one.channel_no == eid]
    assert (shown.answer, shown.HasField("end_time")) == ("HTTP 500", False)
    del noticed.channels.results[eid]

    async def ended() -> bool:
        rows = await noticed.sql("SELECT end_time FROM bill_notice WHERE channel_no = $1", eid)
        return rows[0][0] is not None

    await eventually(ended, 20)
    assert len({one["url"] for one in noticed.channels.of(eid)}) == len(noticed.channels.of(eid))
    assert len({one.key for one in noticed.channels.sent if one.channel_no == eid}) == 1


async def test_a_channel_without_an_address_is_notified_of_nothing(noticed: FinanceHarness) -> None:
    eid, day = await closed(noticed)
    noticed.channels.results[eid] = channel_pb.NOTICE_RESULT_NO_ADDRESS
    await billed(noticed, eid, day)

    async def finished() -> bool:
        rows = await noticed.sql("SELECT count(*) FROM task WHERE name = 'finance.notify_bill'")
        bills = await noticed.sql("SELECT status FROM bill WHERE eid = $1", eid)
        return rows[0][0] == 0 and [row[0] for row in bills] == [int(BillStatus.PUBLISHED)]

    await eventually(finished, 20)
    assert await bills_of(noticed, eid) == []
    assert noticed.channels.of(eid) == []


async def test_a_bill_that_a_channel_asked_for_itself_is_no_news(noticed: FinanceHarness) -> None:
    eid, day = await closed(noticed)
    request = pb.MakeBillRequest(
        kind="fund", ident="oms", groups="down_", eid=eid, first_day=str(day)
    )
    await noticed.bill_stub.MakeBill(request)

    async def published() -> bool:
        rows = await noticed.sql("SELECT status FROM bill WHERE eid = $1", eid)
        return rows[0][0] == BillStatus.PUBLISHED

    await eventually(published, 20)
    tasks = await noticed.sql("SELECT count(*) FROM task WHERE name = 'finance.notify_bill'")
    assert (tasks[0][0], noticed.channels.of(eid)) == (0, [])


async def test_a_process_that_dies_behind_a_notice_sends_it_again_by_the_same_key(
    new_database: Callable[[str], Awaitable[DatabaseUrls]], ledger: LedgerHarness, tmp_path: Path
) -> None:
    urls = await new_database("finance")  # no process of another test takes its tasks
    async with opened(urls, ledger, roles=frozenset({"rpc", "tasks"})) as first:
        eid, day = await closed(first)
    async with opened(urls, ledger, roles=frozenset({"rpc"})) as second:
        given = {
            "pay_target": f"127.0.0.1:{ledger.process.port}",
            "order_target": second.context.app.settings.order_target,
            "task_lease_s": "1",
            "daily_bills": "[]",
        }
        child = FinanceProcess(urls, tmp_path, "finance.bill_notice_sent:exit", **given)
        async with aio.insecure_channel(child.target) as channel:
            stub: Any = stubs.BillServiceStub(channel)
            request = pb.MakeBillRequest(kind="fund", ident="oms", eid=eid, first_day=str(day))

            async def asked() -> bool:
                try:
                    await stub.MakeBill(request, timeout=20)
                except aio.AioRpcError:
                    return second.channels.of(eid) != []
                return True

            await eventually(asked, 60)
            assert await child.ended() == DIED
        keys = {one.key for one in second.channels.sent}
        assert len(keys) == 1
    async with opened(urls, ledger) as third:
        await eventually(lambda: third.channels.of(eid) != [], 60)
        assert {one.key for one in third.channels.sent} == keys
