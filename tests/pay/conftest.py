"""What the pay tests share: a pay service inside the test's own loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from grpc import aio

from shoudan.core.v1 import proposal_service_pb2_grpc as proposal_stubs
from shoudan.pay.v1 import ledger_service_pb2_grpc as stubs
from shoudan_kit.embedded import DatabaseUrls, Postgres
from shoudan_kit.service import Process
from shoudan_pay.app import SERVICE
from shoudan_pay.config import PaySettings
from tests.credentials import trusted_keys
from tests.pay.ledger.harness import LedgerHarness, settings
from tests.pay.ledger.office import SETTINGS, Office
from tests.pay.ledger.signing import SigningHarness, Turnable, opened


@pytest.fixture(scope="module")
async def harness(
    database: Callable[[str], Awaitable[DatabaseUrls]],
) -> AsyncIterator[LedgerHarness]:
    """The pay service of this test module."""
    urls = await database("pay")
    process: Process[PaySettings] = Process(SERVICE, settings(urls))
    await process.start()
    async with aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        yield LedgerHarness(process, stubs.LedgerServiceStub(channel), urls)
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
async def signing(base: Turnable, folder: Path) -> AsyncIterator[SigningHarness]:
    async with opened(base, folder) as found:
        yield found


@pytest.fixture(scope="module")
async def office(
    database: Callable[[str], Awaitable[DatabaseUrls]],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Office]:
    """A pay service that believes our operators and needs two of them."""
    urls = await database("pay")
    keys = trusted_keys(tmp_path_factory.mktemp("keys"))
    made = settings(urls, token_keys=[str(keys)], **SETTINGS)
    process: Process[PaySettings] = Process(SERVICE, made)
    await process.start()
    async with aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        yield Office(
            LedgerHarness(process, stubs.LedgerServiceStub(channel), urls),
            proposal_stubs.ProposalServiceStub(channel),
        )
    await process.stop()
