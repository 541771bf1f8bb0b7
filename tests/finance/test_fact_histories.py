"""Whatever is posted, closed and billed in whatever order: each bill is the ledger's day, and stays it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from shoudan.finance.v1 import bill_service_pb2 as pb
from shoudan.finance.v1 import finance_service_pb2 as day_pb
from shoudan.pay.v1 import ledger_service_pb2 as ledger_pb
from tests.finance.harness import FinanceHarness
from tests.finance.test_bills import published
from tests.pay.ledger.harness import YUAN, deduct, posting

ACCOUNTS = 2
MICROS = st.integers(1, 5 * YUAN)
WHICH = st.integers(0, ACCOUNTS - 1)


@dataclass
class Sums:
    """What one account did on one day, as it was asked for."""

    opening: int = 0
    credits: int = 0
    debits: int = 0

    @property
    def closing(self) -> int:
        return self.opening + self.credits - self.debits


@dataclass
class Story:
    """Accounts of our own, what moved on the open day, and on each that is closed."""

    harness: FinanceHarness
    keys: list[ledger_pb.AccountKey] = field(default_factory=list[ledger_pb.AccountKey])
    open: list[Sums] = field(default_factory=list[Sums])
    closed: dict[date, list[Sums]] = field(default_factory=dict[date, list[Sums]])
    bills: dict[int, tuple[date, int, str]] = field(
        default_factory=dict[int, tuple[date, int, str]]
    )

    async def begin(self) -> None:
        self.keys = [await self.harness.ledger.account(1000 * YUAN) for _ in range(ACCOUNTS)]
        self.open = [Sums(credits=1000 * YUAN) for _ in self.keys]

    async def post(self, which: int, micros: int, *, up: bool) -> None:
        key = self.keys[which]
        if up:
            await self.harness.ledger.post(posting(key, micros))
            self.open[which].credits += micros
        else:
            await self.harness.ledger.groups([deduct(key, micros)])
            self.open[which].debits += micros

    async def close(self) -> None:
        day = await self.harness.close_day()
        await self.harness.completed(day)
        self.closed[day] = self.open
        self.open = [Sums(opening=one.closing) for one in self.open]

    async def bill(self, day: date, which: int) -> None:
        """Ask for a bill; what it says is what was posted, and it is one however often it is asked for."""
        key, wanted = self.keys[which], self.closed[day][which]
        request = pb.MakeBillRequest(kind="fund", ident="oms", eid=key.eid, first_day=str(day))
        made = await published(self.harness.bill_stub, request)
        (one,) = msgspec.json.decode(made.manifest)["accounts"]
        assert (one["opening_micros"], one["closing_micros"]) == (wanted.opening, wanted.closing)
        assert (one["credits_micros"], one["debits_micros"]) == (wanted.credits, wanted.debits)
        known = self.bills.setdefault(made.bill_id, (day, which, made.sha256))
        assert known == (day, which, made.sha256)

    async def count_again(self, number: int) -> None:
        """A bill has the same bytes whatever has been posted since; so has its day."""
        assert (await self.harness.bill_stub.VerifyBill(pb.VerifyBillRequest(bill_id=number))).same
        day = str(self.bills[number][0])
        await self.harness.stub.RecheckDay(day_pb.RecheckDayRequest(day=day))
        await self.harness.completed(self.bills[number][0])


class History(RuleBasedStateMachine):
    """Days of a ledger, and their bills."""

    made: Callable[[], Story]
    wait: Callable[[Awaitable[Any]], Any]

    def __init__(self) -> None:
        super().__init__()
        self.story = self.made()
        self.wait(self.story.begin())

    @rule(which=WHICH, micros=MICROS, up=st.booleans())
    def posted(self, which: int, micros: int, up: bool) -> None:
        self.wait(self.story.post(which, micros, up=up))

    @rule()
    def closed(self) -> None:
        self.wait(self.story.close())

    @precondition(lambda self: self.story.closed)
    @rule(data=st.data(), which=WHICH)
    def billed(self, data: st.DataObject, which: int) -> None:
        day = data.draw(st.sampled_from(sorted(self.story.closed)))
        self.wait(self.story.bill(day, which))

    @precondition(lambda self: self.story.bills)
    @rule(data=st.data())
    def counted_again(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.story.bills)))
        self.wait(self.story.count_again(number))


@pytest.mark.slow
async def test_whatever_is_posted_and_closed_each_bill_is_its_day(harness: FinanceHarness) -> None:
    loop = asyncio.get_running_loop()
    History.made = staticmethod(lambda: Story(harness))
    History.wait = staticmethod(
        lambda call: asyncio.run_coroutine_threadsafe(_awaited(call), loop).result(60)
    )
    few = hypothesis_settings(
        max_examples=2,
        stateful_step_count=10,
        phases=[
            Phase.generate
        ],  # a step closes a day of the ledger: what fails is not made smaller
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    await asyncio.to_thread(run_state_machine_as_test, seed(5)(History), settings=few)


async def _awaited(call: Awaitable[Any]) -> Any:
    return await call
