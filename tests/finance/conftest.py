"""What the finance tests share: a ledger and a finance service of this module."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from grpc import aio

from shoudan.pay.v1 import ledger_service_pb2_grpc as ledger_stubs
from shoudan_finance import reconciling
from shoudan_finance.store import matches, settlements
from shoudan_kit.embedded import DatabaseUrls, Nats
from shoudan_kit.service import Process
from shoudan_pay.app import SERVICE as PAY
from shoudan_pay.config import PaySettings
from tests.credentials import trusted_keys
from tests.finance.books import TODAY, Books
from tests.finance.desk import DAY, SYSTEM, Desk
from tests.finance.harness import FinanceHarness, opened
from tests.pay.ledger.harness import LedgerHarness
from tests.pay.ledger.harness import settings as pay_settings

Databases = Callable[[str], Awaitable[DatabaseUrls]]


@pytest.fixture(scope="module")
async def ledger(database: Databases, nats: Nats) -> AsyncIterator[LedgerHarness]:
    """The pay service of this test module, which publishes what it does."""
    urls = await database("pay")
    process: Process[PaySettings] = Process(PAY, pay_settings(urls, nats_url=nats.url))
    await process.start()
    async with aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        yield LedgerHarness(process, ledger_stubs.LedgerServiceStub(channel), urls)
    await process.stop()


@pytest.fixture(scope="module")
async def harness(database: Databases, ledger: LedgerHarness) -> AsyncIterator[FinanceHarness]:
    """The finance service of this module. It hears no event: days are noted when a test has them noted."""
    async with opened(await database("finance"), ledger) as made:
        yield made


@pytest.fixture(scope="module")
async def office(
    database: Databases, ledger: LedgerHarness, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[FinanceHarness]:
    """A finance service that needs two persons; without a token its caller is the owner."""
    keys = trusted_keys(tmp_path_factory.mktemp("keys"))
    more: dict[str, Any] = {"system_id": SYSTEM, "two_persons": "on", "token_keys": [str(keys)]}
    async with opened(await database("finance"), ledger, **more) as made:
        yield made


@pytest.fixture
async def desk(office: FinanceHarness) -> AsyncIterator[Desk]:
    async with aio.insecure_channel(f"127.0.0.1:{office.process.port}") as channel:
        books = Books(office, channel)
        await books.days_pass(DAY - timedelta(days=1), TODAY)
        yield Desk(books, channel)


@pytest.fixture
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes by pages and slices goes by several in every test of these."""
    monkeypatch.setattr(matches, "SLICE", 7)
    monkeypatch.setattr(settlements, "SLICE", 3)
    monkeypatch.setattr(reconciling, "PAGE_ROWS", 9)
    monkeypatch.setattr(reconciling, "LINES_MAX", 2)
    monkeypatch.setattr(reconciling, "SETTLEMENTS_MAX", 2)
