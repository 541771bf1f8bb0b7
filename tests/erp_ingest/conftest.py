"""What the ERP tests share: a service with an empty database for each test."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from grpc import aio

from shoudan.erp.v1 import erp_service_pb2_grpc as stubs
from shoudan_erp_ingest.app import SERVICE
from shoudan_erp_ingest.config import ErpSettings
from shoudan_kit.db.migrate import role_of, upgrade
from shoudan_kit.db.shard_map import parse
from shoudan_kit.embedded import DatabaseUrls, Postgres
from shoudan_kit.service import Process
from tests.erp_ingest.harness import ErpHarness, settings, shard_map

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


Maps = Callable[[int], Awaitable[tuple[DatabaseUrls, Path]]]


@pytest.fixture(scope="session")
async def new_map(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Maps:
    """`await new_map(4)`: empty databases of a service with so many shards, half of them on a second server,
    and the map. Migrated once per run; each is a copy."""
    templates: dict[int, list[str]] = {}

    async def make(shards: int) -> tuple[DatabaseUrls, Path]:
        if shards not in templates:
            names = [f"erp_shards_{shards}_{place}" for place in ("own", "two")]
            for name in names:
                await postgres.create_database(name, service=NAME)
            urls = [postgres.urls(NAME, name) for name in names]
            for home in parse(shard_map(shards, urls[1]), *urls[0], owner=True).homes:
                role = role_of(home.url, home.owner_url)
                schema = SERVICE.schema
                assert schema is not None
                await upgrade(NAME, schema, home.owner_url, role, turnable=True, home=home)
            templates[shards] = names
        copies = [f"erp_{secrets.token_hex(4)}" for _ in range(2)]
        for copy, template in zip(copies, templates[shards], strict=True):
            await postgres.create_database(copy, service=NAME, template=template)
        own, two = (postgres.urls(NAME, copy) for copy in copies)
        file = tmp_path_factory.mktemp("map") / "shards.toml"
        file.write_text(shard_map(shards, two))
        return own, file

    return make


@pytest.fixture
async def harness(new_database: Databases) -> AsyncIterator[ErpHarness]:
    """An ERP service with nothing stored."""
    async with open_desk(await new_database(NAME)) as made:
        yield made


@asynccontextmanager
async def open_shards(new_map: Maps, shards: int, **more: object) -> AsyncIterator[ErpHarness]:
    """An ERP service with several shards and nothing stored."""
    urls, file = await new_map(shards)
    async with open_desk(urls, shards=file, **more) as made:
        yield made
