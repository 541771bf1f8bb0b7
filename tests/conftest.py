"""What all tests share: one PostgreSQL and one NATS per run, migrated databases in no time."""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from shoudan_kit import metrics
from shoudan_kit.embedded import DatabaseUrls, Nats, Postgres
from shoudan_kit.process.child import Child
from shoudan_kit.process.gc_tuning import tune_gc
from tests import dropped
from tests.console.chromium import PROGRAM
from tests.gateway import node
from tests.preloaded import Nursery, started
from tests.shard_maps import MapMaker, Maps
from tests.shares import Shares, rank

Databases = Callable[[str], Awaitable[DatabaseUrls]]

MEMORY = Path("/dev", "shm")
ROOM_BYTES = 8 << 30  # three workers have 2 GiB of databases and logs at a time, some 3 at most


def pytest_configure() -> None:
    """Servers of the tests keep their data in memory where it has room.

    A run makes some hundred databases of five hundred files each, which a disk takes minutes to remove.
    The collector of a process with five thousand tests would look through all of them again and again.
    """
    tune_gc()
    if "TMPDIR" not in os.environ and _room() >= ROOM_BYTES:
        os.environ["TMPDIR"], tempfile.tempdir = str(MEMORY), None


def pytest_report_header() -> str:
    """Whether what needs a browser or node runs."""
    browser = PROGRAM or "none here, test_browser.py and test_docs_browser.py do not run"
    return (
        f"browser: {browser}; node: {node.PROGRAM or 'none here, test_collections.py does not run'}"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Shares | None:
    """What a worker is given at once; of the ways of sharing out, `loadfile` alone is changed."""
    return Shares(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes long first, where several workers are to end together."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: rank(item.nodeid.partition("::")[0]))


def pytest_collection_finish() -> None:
    """Tests are there to the end, too."""
    tune_gc()


def _room() -> int:
    """Bytes that can be written to memory."""
    try:
        place, memory = os.statvfs(MEMORY), Path("/proc/meminfo").read_text("ascii")
    except OSError:
        return 0
    available = next(line for line in memory.splitlines() if line.startswith("MemAvailable:"))
    return min(place.f_bavail * place.f_frsize, int(available.split()[1]) * 1024)


@pytest.fixture(autouse=True)
def process_without_a_name() -> Iterator[None]:
    """A test that runs a service in this process takes its labels back, else all later metrics have them."""
    yield
    assert metrics.PROCESS_LABELS == {}


@pytest.fixture(scope="session", autouse=True)
def nursery() -> Iterator[Nursery]:
    """Services and sandboxes that are started as processes are forked from one that has loaded them."""
    made, spawn = Nursery(), Child.spawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Child, "spawn", partial(started, made, spawn))
        yield made
    made.close()


@pytest.fixture
def loaded_each(nursery: Nursery) -> Iterator[None]:
    """Every process loads its modules itself, as outside of tests."""
    with nursery.away():
        yield


@pytest.fixture(scope="session")
async def postgres() -> AsyncIterator[Postgres]:
    """A PostgreSQL of this run (under xdist: of this worker), with the time-outs of tests."""
    async with await Postgres.start(profile="test") as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
async def dropped_databases() -> AsyncIterator[None]:
    """What a module makes goes with it; before everything else of the module, so it ends last."""
    begun = dropped.mark()
    yield
    await dropped.drop_since(begun)


@pytest.fixture(scope="session")
async def nats() -> AsyncIterator[Nats]:
    """A NATS server with JetStream of this run."""
    async with await Nats.start() as server:
        yield server


@pytest.fixture(scope="session")
async def new_database(postgres: Postgres) -> Databases:
    """`await new_database("pay")`: a migrated, empty database each time.

    A service is migrated once per run; its databases are copies of the result.
    """
    templates: dict[str, str] = {}
    one_at_a_time = asyncio.Lock()

    async def make(service: str) -> DatabaseUrls:
        async with one_at_a_time:
            if service not in templates:
                templates[service] = await _template(postgres, service)
        database = f"{service}_{secrets.token_hex(4)}"
        await postgres.create_database(database, service=service, template=templates[service])
        dropped.note(postgres, database)
        return postgres.urls(service, database)

    return make


@pytest.fixture(scope="session")
def new_map(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Maps:
    """`await new_map("pay", 4)`: empty databases of a service with so many shards, half of them on a second
    server, and the map."""
    return MapMaker(postgres, lambda: tmp_path_factory.mktemp("map"))


@pytest.fixture(scope="module")
async def second() -> AsyncIterator[Postgres]:
    """A server of this module's own, to be stopped."""
    async with await Postgres.start(profile="test") as server:
        yield server


@pytest.fixture(scope="module")
async def database(new_database: Databases) -> Databases:
    """`await database("pay")`: this module's migrated database of the service."""
    made: dict[str, DatabaseUrls] = {}

    async def of(service: str) -> DatabaseUrls:
        if service not in made:
            made[service] = await new_database(service)
        return made[service]

    return of


async def _template(postgres: Postgres, service: str) -> str:
    """Migrate a database of the service; only its own package is loaded."""
    from shoudan_kit.db.migrate import role_of, upgrade

    (entry,) = entry_points(group="shoudan.services", name=service)
    declared: Any = entry.load()
    name = f"{service}_template"
    await postgres.create_database(name, service=service)
    urls = postgres.urls(service, name)
    await upgrade(service, declared.schema, urls.owner, role_of(*urls), turnable=True)
    return name
