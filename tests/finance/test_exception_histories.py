"""Whatever happens to exceptions: money moves once for each that is settled, and for no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from grpc import aio
from hypothesis import HealthCheck, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from shoudan.finance.v1 import exception_service_pb2 as pb
from shoudan.finance.v1 import exception_service_pb2_grpc as stubs
from shoudan.pay.v1 import ledger_service_pb2 as ledger_pb
from shoudan_kit.rpc.refusal import refused_from_rpc
from tests.finance.books import TODAY, Books, delivery
from tests.finance.harness import FinanceHarness
from tests.finance.test_reconciling import file, line
from tests.poll import eventually

DAY = TODAY - timedelta(days=20)
TRADES = 4
GROUPS = ("suspense", "write_off", "up_channel")
SUBSETS = st.sets(st.integers(0, TRADES - 1), min_size=1)


class Desk:
    """One source whose statements lack all of our deliveries at first."""

    def __init__(self, books: Books, channel: aio.Channel, which: int) -> None:
        self.books, self.stub = books, stubs.ExceptionServiceStub(channel)
        self.source, self.at = f"history-{which}", 500_000 + 100 * which
        self.numbers: list[int] = []

    async def begin(self) -> None:
        trades = [delivery(self.at + one, DAY) for one in range(TRADES + 1)]
        await self.books.traded(self.source, DAY, trades)
        await self.come(TRADES)
        self.numbers = sorted(await self.statuses())

    async def come(self, which: int) -> None:
        """A later statement has one of them."""
        await self.books.imported(self.source, file(line(self.at + which)))
        await self.books.quiet(self.source)

    async def statuses(self) -> dict[int, tuple[int, int, int]]:
        """Status, difference and record of each exception."""
        rows = await self.books.harness.sql(
            "SELECT exception_id, status, diff_micros, record_id FROM exception WHERE source = $1",
            self.source,
        )
        return {row[0]: (row[1], row[2], row[3]) for row in rows}

    async def booked(self) -> None:
        async def none_left() -> bool:
            return all(status != 40 for status, _, _ in (await self.statuses()).values())

        await eventually(none_left, 20)

    async def records(self) -> dict[str, int]:
        """What the ledger moved for the source, by trade number."""
        found: dict[str, int] = {}
        for groups in GROUPS:
            key = ledger_pb.AccountKey(ident="oms", groups=groups, eid=self.source)
            request = ledger_pb.ListRecordsRequest(account=key, page_size=100)
            try:
                answer = await self.books.harness.ledger.stub.ListRecords(request)
            except aio.AioRpcError:
                continue
            for one in answer.records:
                assert one.trade_no not in found
                found[one.trade_no] = one.amount_micros
        return found

    async def call(self, method: str, request: Any) -> None:
        """A call that may come too late, and then changes nothing."""
        before, refused = await self.statuses(), None
        try:
            await getattr(self.stub, method)(request)
        except aio.AioRpcError as error:
            refused = refused_from_rpc(error)
            if refused is None:
                raise
        if refused is not None:
            assert refused.reason.removeprefix("ERROR_REASON_") == "EXCEPTION_DECIDED"
            assert await self.statuses() == before
        await self.booked()


@pytest.fixture
async def channel(harness: FinanceHarness) -> AsyncIterator[aio.Channel]:
    async with aio.insecure_channel(f"127.0.0.1:{harness.process.port}") as made:
        yield made


class History(RuleBasedStateMachine):
    """A few exceptions, and all that can happen to them."""

    open: Callable[[int], Desk]
    wait: Callable[[Awaitable[Any]], Any]
    sources: Any

    def __init__(self) -> None:
        super().__init__()
        self.desk = self.open(next(self.sources))
        self.wait(self.desk.begin())
        assert len(self.desk.numbers) == TRADES

    def _named(self, which: set[int]) -> list[int]:
        return [self.desk.numbers[one] for one in sorted(which)]

    @rule(which=st.integers(0, TRADES - 1))
    def comes_late(self, which: int) -> None:
        self.wait(self.desk.come(which))

    @rule(which=SUBSETS, decision=st.sampled_from([1, 2, 3]))
    def decided(self, which: set[int], decision: Any) -> None:
        item = pb.DecideExceptionsRequest.Item
        items = [item(exception_id=one, decision=decision) for one in self._named(which)]
        request = pb.DecideExceptionsRequest(items=items)
        self.wait(self.desk.call("DecideExceptions", request))

    @rule(which=SUBSETS)
    def asked(self, which: set[int]) -> None:
        request = pb.AskAboutExceptionsRequest(exception_ids=self._named(which), text="?")
        self.wait(self.desk.call("AskAboutExceptions", request))

    @rule(which=SUBSETS)
    def disputed(self, which: set[int]) -> None:
        request = pb.OpenDisputeRequest(
            source=self.desk.source,
            exception_ids=self._named(which),
            letter="!",
            deadline=str(TODAY),
        )
        self.wait(self.desk.call("OpenDispute", request))

    @rule()
    def answered(self) -> None:
        self.wait(self._answer())

    async def _answer(self) -> None:
        query = "SELECT dispute_id FROM dispute WHERE source = $1"
        for row in await self.desk.books.harness.sql(query, self.desk.source):
            request = pb.AnswerDisputeRequest(dispute_id=row[0], answer="so be it")
            await self.desk.stub.AnswerDispute(request)

    @invariant()
    def money_moved_once_for_each_that_is_settled(self) -> None:
        statuses, records = self.wait(self.desk.statuses()), self.wait(self.desk.records())
        settled = {number: one for number, one in statuses.items() if one[0] == 50}
        assert records == {f"EX{number}": diff for number, (_, diff, _) in settled.items()}
        assert all(record > 0 for _, _, record in settled.values())

    @invariant()
    def an_entry_is_matched_or_excepted_and_never_both(self) -> None:
        rows = self.wait(self.desk.books.harness.sql(
            "SELECT e.status, count(x.exception_id) FILTER (WHERE x.status IN (10, 20, 30)) AS undecided,"
            " count(x.exception_id) FILTER (WHERE x.status IN (40, 50)) AS decided"
            " FROM entry e LEFT JOIN exception x ON e.entry_id IN (x.ours_id, x.theirs_id)"
            " WHERE e.source = $1 AND e.status <> 90 GROUP BY e.entry_id, e.status",
            self.desk.source,
        ))  # fmt: skip
        wanted = {10: (0, 0), 20: (1, 0), 30: (0, 0), 40: (0, 1)}
        assert all((undecided, done) == wanted[status] for status, undecided, done in rows)


async def test_whatever_happens_money_moves_once_for_what_is_settled(
    harness: FinanceHarness, channel: aio.Channel
) -> None:
    loop = asyncio.get_running_loop()
    books = Books(harness, channel)
    await books.days_pass(DAY - timedelta(days=1), TODAY)
    History.open = staticmethod(lambda which: Desk(books, channel, which))
    History.sources = count()
    History.wait = staticmethod(
        lambda call: asyncio.run_coroutine_threadsafe(_awaited(call), loop).result(60)
    )
    few = hypothesis_settings(
        max_examples=4,
        stateful_step_count=8,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    await asyncio.to_thread(run_state_machine_as_test, seed(3)(History), settings=few)


async def _awaited(call: Awaitable[Any]) -> Any:
    return await call
