"""Promises of a finance service that is killed at every step: nothing half, nothing twice, nothing lost."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import pytest
from grpc import StatusCode, aio

from shoudan.finance.v1 import bill_service_pb2 as bill_pb
from shoudan.finance.v1 import bill_service_pb2_grpc as bill_stubs
from shoudan.finance.v1 import book_service_pb2 as book_pb
from shoudan.finance.v1 import book_service_pb2_grpc as book_stubs
from shoudan.finance.v1 import exception_service_pb2 as pb
from shoudan.finance.v1 import exception_service_pb2_grpc as stubs
from shoudan.finance.v1 import statement_service_pb2 as statement_pb
from shoudan.finance.v1 import statement_service_pb2_grpc as statement_stubs
from shoudan.pay.v1 import ledger_service_pb2 as ledger_pb
from shoudan_finance import events
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.rpc.refusal import refused_from_rpc
from tests.finance.books import TODAY, Books, delivery
from tests.finance.harness import AWAY, NEVER_S, FinanceHarness, opened
from tests.finance.process import MortalProcess
from tests.finance.test_periods import FETCHED
from tests.finance.test_reconciling import file, line
from tests.pay.ledger.harness import YUAN, LedgerHarness
from tests.poll import eventually

SOURCE: Final = "killed"
DAY = TODAY - timedelta(days=20)
pytestmark = pytest.mark.slow
LONG_S: Final = 90.0  # starts of a process and leases that end, on a busy machine
LOST: Final = frozenset(
    {StatusCode.UNAVAILABLE, StatusCode.CANCELLED, StatusCode.DEADLINE_EXCEEDED}
)
# Each is passed behind the one before it.
IMPORT: Final = (
    "finance.statement_part.after_commit",
    "finance.statement_rows_stored",
    "finance.statement.before_commit",
    "finance.statement.after_commit",
    "finance.our_side.before_commit",
    "finance.our_side.after_commit",
    "finance.matches.before_commit",
    "finance.matches.after_commit",
    "finance.settlements.before_commit",
    "finance.settlements.after_commit",
    "finance.run_done.before_commit",
    "finance.run_done.after_commit",
)
DECISIONS: Final = (
    "finance.dispute.before_commit",
    "finance.dispute.after_commit",
    "finance.answer.before_commit",
    "finance.answer.after_commit",
    "finance.decide.before_commit",
    "finance.decide.after_commit",
    "finance.booked.before_commit",
    "finance.booked.after_commit",
)
CLOSES: Final = (
    "finance.bill_piece_stored",
    "finance.bill_whole",
    "finance.publish_bill.before_commit",
    "finance.publish_bill.after_commit",
    "finance.close_period.before_commit",
    "finance.close_period.after_commit",
    "finance.reopen_period.before_commit",
    "finance.reopen_period.after_commit",
)
# A bill is whole or not there; what is matched is matched by its match; what is broken has its exception.
HALF_BILLS = """SELECT bill_id FROM bill b WHERE status = 20 AND (sha256 = '' OR NOT EXISTS (
    SELECT 1 FROM bill_piece p WHERE p.bill_id = b.bill_id AND p.attempt = b.attempt))"""
ONE_SIDED = """SELECT o.entry_id FROM entry o LEFT JOIN entry t ON t.entry_id = o.match_id
    WHERE o.match_id > 0 AND (t.match_id IS DISTINCT FROM o.entry_id OR t.status <> o.status)"""
LOST_EXCEPTIONS = """SELECT e.entry_id FROM entry e WHERE e.status = 20 AND 1 <> (SELECT count(*)
    FROM exception x WHERE e.entry_id IN (x.ours_id, x.theirs_id) AND x.status IN (10, 20, 30))"""
ROWLESS = """SELECT entry_id FROM entry e WHERE book > 1 AND NOT EXISTS (
    SELECT 1 FROM statement s WHERE s.statement_id = e.statement_id)"""
NEVER: Final = (HALF_BILLS, ONE_SIDED, LOST_EXCEPTIONS, ROWLESS)


@dataclass
class Killed:
    """A process that dies, and one that only looks."""

    mortal: MortalProcess
    watch: FinanceHarness
    eid: str
    day: str

    async def call(self, stub: Any, method: str, request: Any) -> Any:
        """The answer of a call that is made again until it is answered; its refusal, by name."""
        answer: list[Any] = []

        async def answered() -> bool:
            async with aio.insecure_channel(self.mortal.target) as channel:
                try:
                    calls = getattr(stub(channel), method)
                    answer.append(await calls(request, timeout=20, wait_for_ready=True))
                except aio.AioRpcError as error:
                    refused = refused_from_rpc(error)
                    if refused is None and error.code() in LOST:
                        return False
                    if refused is None:
                        raise
                    answer.append(refused.reason.removeprefix("ERROR_REASON_"))
            return True

        await eventually(answered, LONG_S)
        return answer[0]

    async def until(self, query: str, *values: Any) -> None:
        """Until a statement gives a row."""

        async def there() -> bool:
            return bool(await self.watch.sql(query, *values))

        await eventually(there, LONG_S, every_s=0.05)

    async def dies(self, points: Sequence[str], does: Awaitable[None]) -> None:
        """Do something to its end though the process dies at each of these."""
        async with asyncio.timeout(LONG_S * 3), asyncio.TaskGroup() as both:
            both.create_task(self.mortal.dies(points, self.nothing_is_half))
            both.create_task(_awaited(does))

    async def nothing_is_half(self, point: str) -> None:
        """What must never be there, whatever died where."""
        for query in NEVER:
            assert await self.watch.sql(query) == [], (point, query)

    async def numbers(self) -> list[int]:
        rows = await self.watch.sql(
            "SELECT exception_id FROM exception WHERE source = $1 ORDER BY kind, exception_id",
            SOURCE,
        )
        return [row[0] for row in rows]

    async def notes(self, number: int) -> list[str]:
        """The kinds of what was noted about an exception."""
        found = await self.call(
            stubs.ExceptionServiceStub, "GetException", pb.GetExceptionRequest(exception_id=number)
        )
        return sorted(one.kind for one in found.notes)


async def _awaited(does: Awaitable[None]) -> None:
    await does


@pytest.fixture(scope="module")
async def killed(
    database: Callable[[str], Awaitable[DatabaseUrls]],
    ledger: LedgerHarness,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Killed]:
    urls = await database("finance")
    key = await ledger.account(10 * YUAN)
    async with opened(urls, ledger) as first:  # a day of the ledger, proved before anything dies
        day = await first.close_day()
        await first.completed(day)
        await first.sql(FETCHED, day)
    mortal = MortalProcess(
        urls,
        tmp_path_factory.mktemp("killed"),
        pay_target=f"127.0.0.1:{ledger.process.port}",
        order_target=AWAY,
        delivery_target=AWAY,
        follow_s=str(NEVER_S),
        daily_bills="[]",
    )
    async with opened(urls, ledger, roles=frozenset({"rpc"})) as watch:
        books = Books(watch, aio.insecure_channel(mortal.target))
        await books.days_pass(DAY - timedelta(days=1), TODAY)
        await books.traded(SOURCE, DAY, [delivery(one, DAY) for one in (1, 2, 3)])
        try:
            yield Killed(mortal, watch, key.eid, str(day))
        finally:
            await mortal.stop()


async def imports(killed: Killed) -> None:
    """A statement that differs from our books in three ways; a repeat changes nothing."""
    total = f",J1,J1,,,-98.00,{DAY} 23:00:00,结算,成功"
    data = file(line(1, settle="J1"), line(2, 99 * YUAN), line(9), total)
    sha256 = hashlib.sha256(data).digest()
    stub = statement_stubs.StatementServiceStub
    part = statement_pb.StorePartRequest(sha256=sha256, part_no=0, data=data)
    request = statement_pb.ImportStatementRequest(
        sha256=sha256, parts=1, template="plain-csv", file_name="s.csv", source=SOURCE
    )
    await killed.call(stub, "StorePart", part)
    assert (await killed.call(stub, "ImportStatement", request)).statement.entries == 4
    await killed.until("SELECT 1 FROM reconcile_run WHERE source = $1 AND status = 30", SOURCE)


async def test_an_import_and_its_run_leave_every_row_once_wherever_they_die(killed: Killed) -> None:
    await killed.dies(IMPORT, imports(killed))
    await imports(killed)
    kinds = await killed.watch.sql(
        "SELECT kind, diff_micros FROM exception WHERE source = $1 ORDER BY kind", SOURCE
    )
    assert [tuple(row) for row in kinds] == [(1, 98 * YUAN), (2, -98 * YUAN), (3, -YUAN)]
    counted = dict(await killed.watch.sql(
        "SELECT status, count(*) FROM entry WHERE source = $1 GROUP BY 1", SOURCE
    ))  # fmt: skip
    assert counted == {20: 4, 30: 3}
    # The run that died is the one that ended, and no other was needed.
    runs = await killed.watch.sql("SELECT status FROM reconcile_run WHERE source = $1", SOURCE)
    assert [row[0] for row in runs] == [30]


async def test_disputes_and_decisions_are_made_and_booked_once_wherever_they_die(
    killed: Killed,
) -> None:
    await imports(killed)
    numbers, stub = await killed.numbers(), stubs.ExceptionServiceStub
    disputed = pb.OpenDisputeRequest(
        source=SOURCE, exception_ids=numbers[1:2], letter="!", deadline=str(TODAY)
    )
    item = pb.DecideExceptionsRequest.Item
    decision = pb.DecideExceptionsRequest(
        items=[item(exception_id=one, decision=pb.DECISION_BOOK, remark="seen") for one in numbers]
    )

    async def decides() -> None:
        made = await killed.call(stub, "OpenDispute", disputed)
        # One that was opened by a call which then died refuses to be disputed once more.
        assert made == "EXCEPTION_DECIDED" or made.dispute.exceptions == 1
        (dispute,) = (await killed.call(stub, "ListDisputes", pb.ListDisputesRequest())).disputes
        answer = pb.AnswerDisputeRequest(dispute_id=dispute.dispute_id, answer="so be it")
        await killed.call(stub, "AnswerDispute", answer)
        made = await killed.call(stub, "DecideExceptions", decision)
        assert made.decided == 3  # a repeat of what died is answered as the first time

    await killed.dies(DECISIONS, decides())
    settled = "SELECT 1 FROM exception WHERE source = $1 AND status = 50 HAVING count(*) = 3"
    await killed.until(settled, SOURCE)
    assert await killed.notes(numbers[0]) == ["booked", "decided"]
    assert await killed.notes(numbers[1]) == ["answered", "booked", "decided", "disputed"]
    account = ledger_pb.AccountKey(ident="oms", groups="suspense", eid=SOURCE)
    records = [
        (one.trade_no, one.amount_micros) for one in await killed.watch.ledger.records(account)
    ]
    wanted = zip(numbers, (98 * YUAN, -98 * YUAN, -YUAN), strict=True)
    assert sorted(records) == sorted((f"EX{no}", micros) for no, micros in wanted)


async def test_bills_and_periods_are_whole_or_not_there_wherever_they_die(killed: Killed) -> None:
    bill = bill_pb.MakeBillRequest(kind="fund", ident="oms", eid=killed.eid, first_day=killed.day)
    close = book_pb.ClosePeriodRequest(first_day=killed.day, last_day=killed.day, by="li")
    reopen = book_pb.ReopenPeriodRequest(first_day=killed.day, reason="one was late", by="wang")
    books, closings = book_stubs.BookServiceStub, list[Any]()

    async def closes() -> None:
        await killed.call(bill_stubs.BillServiceStub, "MakeBill", bill)
        await killed.until("SELECT 1 FROM bill WHERE status = 20")
        closings.append((await killed.call(books, "ClosePeriod", close)).period)
        assert await killed.call(books, "ReopenPeriod", reopen) in (
            book_pb.ReopenPeriodResponse(),
            "PERIOD_NOT_CLOSED",
        )

    await killed.dies(CLOSES, closes())
    made = await killed.call(books, "ClosePeriod", close)
    assert (made.existed, made.period.digest) == (False, closings[0].digest)
    once = (
        "SELECT count(*) FROM bill",
        "SELECT count(DISTINCT attempt) FROM bill_piece",
        "SELECT count(*) FROM period",
        "SELECT count(*) FROM period_reopening",
        f"SELECT count(*) FROM event WHERE subject = '{events.BILL_READY}'",
    )
    assert [(await killed.watch.sql(query))[0][0] for query in once] == [1] * len(once)
    published = (await killed.call(
        bill_stubs.BillServiceStub, "ListBills", bill_pb.ListBillsRequest(eid=killed.eid)
    )).bills[0]  # fmt: skip
    same = bill_pb.VerifyBillRequest(bill_id=published.bill_id)
    assert (await killed.call(bill_stubs.BillServiceStub, "VerifyBill", same)).same
