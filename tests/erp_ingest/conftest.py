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
from tests.erp_ingest.harness import ErpHarness, settings
from tests.shard_maps import Maps

NAME = "erp_ingest"
Databases = Callable[[str], Awaitable[DatabaseUrls]]


@asynccontextmanager
async def open_desk(urls: DatabaseUrls, **more: object) -> AsyncIterator[ErpHarness]:
    """A started service."""
    process: Process[ErpSettings] = Process(SERVICE, settings(urls, **more))
    await process.start()
    async with aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        yield ErpHarness(process, stubs.ErpServiceStub(channel), urls)
    await process.stop()


@pytest.fixture
async def harness(new_database: Databases) -> AsyncIterator[ErpHarness]:
    """An ERP service with nothing stored."""
    async with open_desk(await new_database(NAME)) as made:
        yield made


@asynccontextmanager
async def open_shards(new_map: Maps, shards: int, **more: object) -> AsyncIterator[ErpHarness]:
    """An ERP service with several shards and nothing stored."""
    urls, file = await new_map(NAME, shards)
    async with open_desk(urls, shards=file, **more) as made:
        yield made
