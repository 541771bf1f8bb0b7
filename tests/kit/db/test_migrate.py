"""Promises: a migration gives way to those who work, does again what was cut off, and says what it locks."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from shoudan_kit.db.ddl_locks import Lock, locks
from shoudan_kit.db.migrate import plan, upgrade
from shoudan_kit.db.owner import Locked, Patience
from shoudan_kit.db.pool import Database
from shoudan_kit.db.revisions import Phase, SchemaCheck, needed, revisions
from shoudan_kit.db.schema import Schema
from shoudan_kit.embedded import DatabaseUrls, Postgres
from shoudan_kit.tasks.tables import metadata
from tests.poll import eventually

REVISION = '''"""{sentence}"""

from alembic import op

revision: str = "{number}"
down_revision: str | None = {before}
branch_labels = None
depends_on = None
{phase}

def upgrade() -> None:
    """Forward."""
    for sql in {sql!r}:
        op.execute(sql)
'''
ROLE = "shoudan_pay"


@dataclass
class Package:
    """A service's package that is written revision by revision."""

    folder: Path
    name: str
    count: int = 0

    def add(self, *sql: str, phase: str = "") -> None:
        self.count += 1
        text = REVISION.format(
            sentence=f"Step {self.count}.",
            number=f"{self.count:04}",
            before=f'"{self.count - 1:04}"' if self.count > 1 else None,
            phase=f'PHASE = "{phase}"' if phase else "",
            sql=sql,
        )
        versions = self.folder / self.name / "migrations" / "versions"
        (versions / f"{self.count:04}_step.py").write_text(text)
        revisions.cache_clear()

    @property
    def schema(self) -> Schema:
        made = metadata()
        for table in list(made.tables.values()):
            if table.name != "id_node":
                made.remove(table)
        return Schema(self.name, made)


@pytest.fixture
def package(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Package]:
    name = f"migrated_{abs(hash(request.node.name))}"
    versions = tmp_path / name / "migrations" / "versions"
    versions.mkdir(parents=True)
    (tmp_path / name / "__init__.py").write_text("")
    sys.path.insert(0, str(tmp_path))
    importlib.invalidate_caches()
    made = Package(tmp_path, name)
    made.add("CREATE TABLE thing (id bigint PRIMARY KEY, size int)")
    yield made
    sys.path.remove(str(tmp_path))
    sys.modules.pop(name, None)


@pytest.fixture
async def urls(postgres: Postgres, request: pytest.FixtureRequest) -> DatabaseUrls:
    name = f"migrated_{abs(hash(request.node.name))}"
    await postgres.create_database(name, service="pay")
    return postgres.urls("pay", name)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    # Its transactions hold locks for as long as a migration takes, however slow the machine is.
    patient = {"idle_in_transaction_session_timeout": "0", "transaction_timeout": "0"}
    db = await asyncpg.connect(url.replace("+asyncpg", ""), server_settings=patient)
    try:
        yield db
    finally:
        await db.close()


async def migrated(package: Package, urls: DatabaseUrls, **options: Any) -> Any:
    return await upgrade("pay", package.schema, urls.owner, ROLE, **options)


async def waits(db: asyncpg.Connection[Any]) -> bool:
    """Whether a migration stands in the queue of a lock."""
    return await db.fetchval(
        "SELECT count(*) > 0 FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE NOT granted AND application_name = 'shoudan-migrate'"
        " AND datname = current_database()"
    )


async def test_a_migration_lets_others_pass_while_it_waits_and_is_done_when_it_may(
    package: Package, urls: DatabaseUrls
) -> None:
    await migrated(package, urls)
    package.add("ALTER TABLE thing ADD COLUMN name text")
    patience = Patience(lock_timeout_s=0.1, tries_max=1000, wait_s_max=0.2)
    async with connected(urls.owner) as long, connected(urls.owner) as other:
        reading = long.transaction()
        await reading.start()
        await long.fetch("SELECT * FROM thing")
        running = asyncio.create_task(migrated(package, urls, patience=patience))

        async def queued() -> bool:
            return await waits(other)

        for _ in range(3):  # each time it gives way again
            await eventually(queued, 20, every_s=0.005)
            await asyncio.wait_for(
                other.execute("INSERT INTO thing VALUES (1, 1) ON CONFLICT DO NOTHING"), 2
            )
        assert not running.done()
        await reading.rollback()
        await running
        assert await other.fetchval("SELECT version_num FROM alembic_version") == "0002"
        await other.execute("UPDATE thing SET name = 'x'")


async def test_a_table_that_stays_locked_ends_with_a_sentence_and_keeps_what_was_done(
    package: Package, urls: DatabaseUrls
) -> None:
    await migrated(package, urls)
    package.add("CREATE TABLE more (id int)")
    package.add("ALTER TABLE thing ADD COLUMN name text")
    async with connected(urls.owner) as long:
        reading = long.transaction()
        await reading.start()
        await long.fetch("SELECT * FROM thing")
        with pytest.raises(Locked, match="revision 0003"):
            await migrated(package, urls, patience=Patience(0.05, 2, 0.1))
        assert await long.fetchval("SELECT version_num FROM alembic_version") == "0002"
        await reading.rollback()
    assert [str(one) for one in (await migrated(package, urls)).pending] == ["0003: Step 3."]


async def test_an_index_is_made_concurrently_and_one_that_was_cut_off_is_made_again(
    package: Package, urls: DatabaseUrls
) -> None:
    await migrated(package, urls)
    package.add("CREATE UNIQUE INDEX CONCURRENTLY thing_size ON thing (size)", phase="index")
    async with connected(urls.owner) as db:
        await db.execute("INSERT INTO thing VALUES (1, 7), (2, 7)")
        with pytest.raises(Exception, match="thing_size"):
            await migrated(package, urls)
        invalid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'thing_size'::regclass"
        assert await db.fetchval(invalid) is False
        await db.execute("DELETE FROM thing WHERE id = 2")
        await migrated(package, urls)
        assert await db.fetchval(invalid) is True
        assert await db.fetchval("SELECT version_num FROM alembic_version") == "0002"


async def test_what_the_release_before_needs_is_taken_away_only_when_told(
    package: Package, urls: DatabaseUrls
) -> None:
    await migrated(package, urls)
    package.add("ALTER TABLE thing DROP COLUMN size", phase="contract")
    package.add("CREATE TABLE more (id int)")
    done = await migrated(package, urls)
    assert ([str(one) for one in done.pending], [one.phase for one in done.waiting]) == (
        [],
        [Phase.CONTRACT, Phase.EXPAND],
    )
    planned = await plan("pay", package.schema, urls.owner, contract=True)
    assert len(planned.pending) == 2
    await migrated(package, urls, contract=True)
    async with connected(urls.owner) as db:
        assert await db.fetchval("SELECT version_num FROM alembic_version") == "0003"
        assert not await db.fetch(
            "SELECT 1 FROM information_schema.columns WHERE table_name = 'thing' AND column_name = 'size'"
        )


async def test_a_plan_says_what_each_revision_locks(package: Package, urls: DatabaseUrls) -> None:
    await migrated(package, urls)
    package.add(
        "ALTER TABLE thing ADD CONSTRAINT thing_size_check CHECK (size > 0) NOT VALID",
        "CREATE TABLE more (id int)",
        "CREATE INDEX more_id ON more (id)",
    )
    package.add("CREATE INDEX CONCURRENTLY thing_size ON thing (size)", phase="index")
    package.add("ALTER TABLE thing VALIDATE CONSTRAINT thing_size_check", phase="validate")
    found = await plan("pay", package.schema, urls.owner)
    assert [(one.phase, one.locks) for one in found.pending] == [
        (Phase.EXPAND, (("thing", Lock.ACCESS_EXCLUSIVE),)),
        (Phase.INDEX, (("thing", Lock.SHARE_UPDATE_EXCLUSIVE),)),
        (Phase.VALIDATE, (("thing", Lock.SHARE_UPDATE_EXCLUSIVE),)),
    ]
    assert len((await migrated(package, urls)).pending) == 3


async def test_the_revisions_are_read_in_no_transaction(
    package: Package, urls: DatabaseUrls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow machine reads them for seconds: locks would be kept, the session be ended as idle."""
    await migrated(package, urls)
    package.add("CREATE TABLE more (id int)")
    found: list[str] = []

    async def state() -> str:
        async with connected(urls.owner) as db:
            return await db.fetchval(
                "SELECT state FROM pg_stat_activity WHERE application_name = 'shoudan-migrate'"
                " AND datname = current_database()"
            )

    def read(text: str) -> dict[str, Lock]:
        with ThreadPoolExecutor(1) as aside:  # the reading is not asynchronous
            found.append(aside.submit(asyncio.run, state()).result(10))
        return locks(text)

    monkeypatch.setattr("shoudan_kit.db.migrate.locks", read)
    assert len((await migrated(package, urls)).pending) == 1
    assert found == ["idle"]


async def test_readiness_names_the_revision_that_is_missing(
    package: Package, urls: DatabaseUrls
) -> None:
    await migrated(package, urls)
    package.add("CREATE TABLE more (id int)")
    package.add("ALTER TABLE thing DROP COLUMN size", phase="contract")
    assert needed(package.name) == "0002"
    database = Database(urls.service)
    try:
        ready = SchemaCheck(database, package.name)
        assert await ready() == (
            "revision 0002 is missing, the database is at 0001: shoudan migrate"
        )
        await migrated(package, urls)
        assert await ready() is None
        await migrated(package, urls, contract=True)  # newer than this release knows of
        assert await SchemaCheck(database, package.name)() is None
    finally:
        await database.dispose()


async def test_two_migrations_at_once_are_one(package: Package, urls: DatabaseUrls) -> None:
    package.add("CREATE INDEX CONCURRENTLY thing_size ON thing (size)", phase="index")
    done = await asyncio.gather(migrated(package, urls), migrated(package, urls))
    assert sorted(len(one.pending) for one in done) == [0, 2]
