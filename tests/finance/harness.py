"""A ledger and a finance service that follows it, inside the test's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import asyncpg
from grpc import aio
from typer.testing import CliRunner, Result

from shoudan.finance.v1 import finance_service_pb2 as pb
from shoudan.finance.v1 import finance_service_pb2_grpc as stubs
from shoudan_finance import commands, day_books
from shoudan_finance.app import SERVICE
from shoudan_finance.config import FinanceSettings
from shoudan_finance.context import Context
from shoudan_kit.config import Secret
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.service import ROLES, Process
from shoudan_pay.ledger import closing
from shoudan_pay.ledger.days import day_of
from shoudan_pay.ledger.store import days as ledger_days
from tests.pay.ledger.harness import LedgerHarness
from tests.poll import eventually

NO_CUT = timedelta()
NEVER_S = 86_400


@dataclass
class FinanceHarness:
    """A running finance service and the ledger it follows."""

    process: Process[FinanceSettings]
    stub: Any
    urls: DatabaseUrls
    ledger: LedgerHarness

    @property
    def context(self) -> Context:
        return self.process.running.context

    async def sql(self, query: str, *values: Any) -> list[Any]:
        """A statement as the owner of the tables."""
        db = await asyncpg.connect(self.urls.owner.replace("+asyncpg", ""))
        try:
            return await db.fetch(query, *values)
        finally:
            await db.close()

    async def close_day(self) -> date:
        """Close the day that the ledger's accounts are in; its next one begins."""
        app = self.ledger.process.app
        async with app.db.connect() as db:
            last = await ledger_days.last_closed(db)
            today = day_of(await ledger_days.now(db), NO_CUT)
        day = today if last is None or last < today else last + timedelta(days=1)
        await closing.close(app, day, NO_CUT)
        return day

    async def get(self, day: date) -> pb.Day:
        """One day."""
        return (await self.stub.GetDay(pb.GetDayRequest(day=day.isoformat()))).day

    async def completed(self, day: date) -> pb.Day:
        """The day when it is complete."""
        await day_books.note(self.context)

        async def complete() -> bool:
            return (await self.get(day)).status == pb.DAY_STATUS_COMPLETE

        await eventually(complete, 20)
        return await self.get(day)

    async def accounts(self, day: date, **more: Any) -> list[pb.AccountDay]:
        """What the day came to in each account."""
        request = pb.ExportAccountDaysRequest(day=day.isoformat(), **more)
        parts = [part async for part in self.stub.ExportAccountDays(request)]
        return [one for part in parts for one in part.accounts]

    async def movements(self, day: date, **more: Any) -> list[pb.Movement]:
        """Its movements."""
        request = pb.ExportMovementsRequest(day=day.isoformat(), **more)
        parts = [part async for part in self.stub.ExportMovements(request)]
        return [one for part in parts for one in part.movements]

    async def run(self, *words: str) -> Result:
        """`shoudan finance …` in a thread of its own."""
        environ = {"SHOUDAN_FINANCE_TARGET": f"127.0.0.1:{self.process.port}", "COLUMNS": "200"}
        return await asyncio.to_thread(CliRunner().invoke, commands.app, list(words), env=environ)


def settings(urls: DatabaseUrls, ledger: LedgerHarness, **more: Any) -> FinanceSettings:
    """Settings of a test's service on any free port, which looks for days only when it is made to."""
    given = {"listen_port": 0, "profile": "test", "drain_s": 5, "follow_s": NEVER_S, **more}
    given["pay_target"] = f"127.0.0.1:{ledger.process.port}"
    return FinanceSettings(database_url=Secret(urls.service), **given)


@asynccontextmanager
async def opened(
    urls: DatabaseUrls, ledger: LedgerHarness, roles: frozenset[str] = ROLES, **more: Any
) -> AsyncIterator[FinanceHarness]:
    """A started finance service; without the role of tasks it fills no day by itself."""
    process: Process[FinanceSettings] = Process(SERVICE, settings(urls, ledger, **more), roles)
    await process.start()
    async with aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        yield FinanceHarness(process, stubs.FinanceServiceStub(channel), urls, ledger)
    await process.stop()
