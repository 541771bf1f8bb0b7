"""One month: a supplier that errs every documented way, what is decided of it, and books that close."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest
from grpc import aio

from shoudan.finance.v1 import bill_service_pb2 as bill_pb
from shoudan.finance.v1 import book_service_pb2 as book_pb
from shoudan.finance.v1 import exception_service_pb2 as exception_pb
from shoudan.finance.v1 import exception_service_pb2_grpc as exception_stubs
from shoudan_fakes import statements
from shoudan_fakes.statements import Error, PayComponent, Supplier
from shoudan_finance.states import EntryKind, ExceptionKind, MatchRule
from tests.finance.books import TODAY, Books, Difference, delivery, noon
from tests.finance.harness import FinanceHarness
from tests.finance.test_bills import published
from tests.finance.test_periods import FETCHED
from tests.pay.ledger.harness import deduct
from tests.poll import eventually

YUAN = 1_000_000
DAYS = 30
pytestmark = pytest.mark.usefixtures("few_at_a_time")
MOVED = """SELECT r.account_id, i.ident, i.groups, i.eid,
    sum(r.amount_micros) FILTER (WHERE r.amount_micros > 0),
    -sum(r.amount_micros) FILTER (WHERE r.amount_micros < 0),
    sum(r.amount_micros), count(*)
    FROM account_record r JOIN account_info i USING (account_id) GROUP BY 1, 2, 3, 4"""


@dataclass(frozen=True)
class Stand:
    """What the ledger has moved in an account since it began."""

    ident: str = ""
    groups: str = ""
    eid: str = ""
    credits: int = 0
    debits: int = 0
    balance: int = 0
    records: int = 0


class Month:
    """The books of a module and the ledger that they follow, day by day."""

    def __init__(self, books: Books, channel: aio.Channel) -> None:
        self.books, self.harness = books, books.harness
        self.exceptions = exception_stubs.ExceptionServiceStub(channel)

    async def ledger(self) -> dict[int, Stand]:
        """What the ledger itself says, by account."""
        db = await asyncpg.connect(self.harness.ledger.urls.owner.replace("+asyncpg", ""))
        try:
            rows = await db.fetch(MOVED)
        finally:
            await db.close()
        return {row[0]: Stand(*row[1:4], *(int(one or 0) for one in row[4:])) for row in rows}

    async def decide_all(self) -> int:
        """Decide about every difference in turn, each decision as often; how many they were."""
        rows = await self.harness.sql(
            "SELECT exception_id FROM exception WHERE status = 10 ORDER BY 1"
        )
        item, words = exception_pb.DecideExceptionsRequest.Item, (1, 2, 3)
        items = [
            item(exception_id=row[0], decision=exception_pb.Decision.ValueType(words[at % 3]))
            for at, row in enumerate(rows)
        ]
        await self.exceptions.DecideExceptions(exception_pb.DecideExceptionsRequest(items=items))

        async def booked() -> bool:
            return not await self.harness.sql("SELECT 1 FROM exception WHERE status <> 50 LIMIT 1")

        await eventually(booked, 60, every_s=0.1)
        return len(rows)

    async def close(self) -> date:
        """The ledger's day ends, is copied and proved."""
        day = await self.harness.close_day()
        await self.harness.completed(day)
        await self.harness.sql(FETCHED, day)
        return day

    async def billed(self, day: date, kinds: Sequence[tuple[str, str]]) -> dict[int, Any]:
        """What the bills of a day say of each account."""
        asked = [
            bill_pb.MakeBillRequest(kind="fund", ident=ident, groups=groups, first_day=str(day))
            for ident, groups in kinds
        ]
        made = await asyncio.gather(*(published(self.harness.bill_stub, one) for one in asked))
        sums = [one for bill in made for one in msgspec.json.decode(bill.manifest)["accounts"]]
        assert len({one["account_id"] for one in sums}) == len(sums)
        return {one["account_id"]: one for one in sums}


@pytest.fixture
async def month(harness: FinanceHarness) -> AsyncIterator[Month]:
    async with aio.insecure_channel(f"127.0.0.1:{harness.process.port}") as channel:
        yield Month(Books(harness, channel), channel)


@pytest.mark.slow
async def test_a_month_of_a_supplier_that_errs_every_documented_way(month: Month) -> None:
    """Every injected difference is found and classified, none is invented; decided, the books close."""
    books = month.books
    await _errs(books)
    made = await month.decide_all()
    assert made > 50
    await _bills_are_the_ledger(month, made)


@pytest.mark.slow
async def test_a_month_of_a_payment_component_that_errs_every_documented_way(month: Month) -> None:
    """Against PayServer's own pays and refunds; nothing that a person corrected is a second movement."""
    books, first = month.books, TODAY - timedelta(days=34)
    days = [first + timedelta(days=at) for at in range(DAYS)]
    paid = []
    for at, day in enumerate(days):
        own = [
            delivery(
                7_000_000_000_000_000 + 100 * at + one,
                day,
                (50 + one) * YUAN,
                gives_back=one % 9 == 0,
                failed=one % 7 == 0,
                end_time=noon(day) + timedelta(minutes=17 * one - 693),
            )
            for one in range(84)
        ]
        await books.paid("wechat", day, own)
        paid += own
    corrected = "UPDATE pay_trade SET kind = kind + 2, record_id = record_id + 50 WHERE number = $1"
    again = delivery(1, days[3])
    await books.paid("wechat", days[3], [again])
    await books.harness.sql(corrected, again.number)
    said = PayComponent(11).month(paid, days)
    for day in days:
        await books.imported("wechat", said.files[day])
    await books.quiet("wechat")
    await _all_found(books, "wechat", said)
    kinds = await books.harness.sql("SELECT DISTINCT kind FROM entry WHERE source = 'wechat'"
        " AND book = 1 ORDER BY 1")  # fmt: skip
    assert [row[0] for row in kinds] == [EntryKind.PAY, EntryKind.REFUND]


async def _errs(books: Books) -> None:
    first = TODAY - timedelta(days=34)
    days = [first + timedelta(days=at) for at in range(DAYS)]
    await books.days_pass(first - timedelta(days=1), TODAY)
    traded = []
    for at, day in enumerate(days):
        own = [
            delivery(
                10_000 + 100 * at + one,
                day,
                (50 + one) * YUAN,
                gives_back=one % 9 == 0,
                failed=one % 7 == 0,
                end_time=noon(day) + timedelta(minutes=17 * one - 693),  # 00:27 to 23:58
                sent_no=5_000_000 + 100 * at + one,
                account=f"138001{one % 9}{at:02}{one:02}",
            )
            for one in range(84)
        ]
        await books.traded("month", day, own)
        traded += own
    said = Supplier(7).month(traded, days)
    for day in days:
        await books.imported("month", said.files[day])
    await books.quiet("month")
    await _all_found(books, "month", said)
    rules = dict(await books.harness.sql("SELECT rule, count(*) FROM entry WHERE source = 'month'"
        " AND book = 1 GROUP BY rule"))  # fmt: skip
    assert rules[int(MatchRule.ACCOUNT)] == said.numberless > 20
    assert rules[int(MatchRule.OUR_NO)] > rules[int(MatchRule.THEIR_NO)] > 100
    accounts = await books.harness.sql("SELECT account FROM entry WHERE source = 'month'")
    assert not [row[0] for row in accounts if "138001" in row[0]]


async def _all_found(books: Books, source: str, said: statements.Month) -> None:
    """What was injected is found and classified, nothing else is, and nothing waits."""
    kinds = {
        Error.MISSING: (ExceptionKind.LONG, ExceptionKind.SHORT),
        Error.EXTRA: (ExceptionKind.LONG, ExceptionKind.SHORT),
        Error.TWICE: (ExceptionKind.LONG, ExceptionKind.SHORT),
        Error.AMOUNT: (ExceptionKind.AMOUNT,) * 2,
        Error.STATUS: (ExceptionKind.STATUS,) * 2,
        Error.SETTLEMENT: (ExceptionKind.SETTLEMENT,) * 2,
    }
    wanted = [
        Difference(kinds[one.error][one.diff_micros < 0], one.number, one.their_no, one.diff_micros)
        for one in said.injected
    ]
    assert {one.error for one in said.injected} == set(kinds)
    assert said.late > 5
    found = await books.open(source)
    assert found == sorted(wanted, key=lambda one: (one.kind, one.their_no, one.number))
    statuses = await books.statuses(source)
    assert statuses.get(10, 0) == 0


async def _bills_are_the_ledger(month: Month, exceptions: int) -> None:
    """Of every account and day the bills come to what the ledger moved, to the micro; every period closes."""
    ledger = month.harness.ledger
    keys = [await ledger.account(1000 * YUAN) for _ in range(3)]
    before: dict[int, Stand] = {}
    closings: list[date] = []
    for at in range(DAYS):
        spent = [
            deduct(key, 1_000_001 + 7 * at + one)
            for one, key in enumerate(keys)
            if at % (one + 1) == 0
        ]
        await ledger.groups(*([one] for one in spent))
        day = await month.close()
        now = await month.ledger()
        moved = {no: one for no, one in now.items() if one != before.get(no)}
        bills = await month.billed(day, sorted({(one.ident, one.groups) for one in moved.values()}))
        for number, one in moved.items():
            was, bill = before.get(number, Stand()), bills[number]
            assert (bill["opening_micros"], bill["closing_micros"]) == (was.balance, one.balance)
            assert bill["credits_micros"] == one.credits - was.credits
            assert bill["debits_micros"] == one.debits - was.debits
            assert bill["credits"] + bill["debits"] == one.records - was.records
        before = now
        closings.append(day)
    differences = [one for one in before.values() if one.eid == "month"]
    assert sum(one.records for one in differences) == exceptions
    (total,) = await month.harness.sql("SELECT sum(diff_micros) FROM exception")
    assert sum(one.balance for one in differences) == total[0]
    for day in closings:
        close = book_pb.ClosePeriodRequest(first_day=str(day), last_day=str(day), by="li")
        period = (await month.harness.book_stub.ClosePeriod(close)).period
        opening, closing = period.opening_micros, period.closing_micros
        assert opening + period.credits_micros - period.debits_micros == closing
    assert closing == sum(one.balance for one in before.values())
