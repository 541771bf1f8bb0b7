"""What the finance tests share: a ledger and a finance service of this module."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from grpc import aio

from shoudan.pay.v1 import ledger_service_pb2_grpc as ledger_stubs
from shoudan_kit.embedded import DatabaseUrls, Nats
from shoudan_kit.service import Process
from shoudan_pay.app import SERVICE as PAY
from shoudan_pay.config import PaySettings
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
