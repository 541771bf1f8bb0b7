"""What the pay tests share: a pay service inside the test's own loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from grpc import aio

from shoudan.pay.v1 import ledger_service_pb2_grpc as stubs
from shoudan_kit.embedded import DatabaseUrls, Postgres
from shoudan_kit.service import Process
from shoudan_pay.app import SERVICE
from shoudan_pay.config import PaySettings
from tests.pay.ledger.bank import Bank, settings
from tests.pay.ledger.vault import Turnable, Vault, opened


@pytest.fixture(scope="module")
async def bank(
    database: Callable[[str], Awaitable[DatabaseUrls]],
) -> AsyncIterator[Bank]:
    """The pay service of this test module."""
    urls = await database("pay")
    process: Process[PaySettings] = Process(SERVICE, settings(urls))
    await process.start()
    async with aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        yield Bank(process, stubs.LedgerServiceStub(channel), urls)
    await process.stop()


@pytest.fixture
async def base(
    new_database: Callable[[str], Awaitable[DatabaseUrls]], postgres: Postgres
) -> Turnable:
    return Turnable(await new_database("pay"), postgres)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "statements"
    made.mkdir()
    return made


@pytest.fixture
async def vault(base: Turnable, folder: Path) -> AsyncIterator[Vault]:
    async with opened(base, folder) as found:
        yield found
