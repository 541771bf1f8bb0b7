"""What the ERP tests share: a service with an empty database for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from grpc import aio

from shoudan.erp.v1 import erp_service_pb2_grpc as stubs
from shoudan_erp_ingest.app import SERVICE
from shoudan_erp_ingest.config import ErpSettings
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.service import Process
from tests.erp_ingest.desk import Desk, settings

Databases = Callable[[str], Awaitable[DatabaseUrls]]


@asynccontextmanager
async def open_desk(urls: DatabaseUrls, **more: object) -> AsyncIterator[Desk]:
    """A started service."""
    process: Process[ErpSettings] = Process(SERVICE, settings(urls, **more))
    await process.start()
    async with aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        yield Desk(process, stubs.ErpServiceStub(channel), urls)
    await process.stop()


@pytest.fixture
async def desk(new_database: Databases) -> AsyncIterator[Desk]:
    """An ERP service with nothing stored."""
    async with open_desk(await new_database("erp_ingest")) as made:
        yield made
