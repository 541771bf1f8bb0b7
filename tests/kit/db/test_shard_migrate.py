"""Promises: every shard has the tables of its service and says which one it is; keys that exist stay."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from shoudan_cli.main import collected
from shoudan_erp_ingest.app import SERVICE
from shoudan_erp_ingest.config import ErpSettings
from shoudan_kit.db import shard_marks
from shoudan_kit.db.migrate import differences, plan, role_of, upgrade
from shoudan_kit.db.owner import as_owner
from shoudan_kit.db.pool import Database
from shoudan_kit.db.shard_map import Home, ShardMap, parse
from shoudan_kit.db.shard_marks import Mark, WrongShard
from shoudan_kit.embedded import DatabaseUrls, Postgres

NAME = "erp_ingest"
assert SERVICE.schema is not None
SCHEMA = SERVICE.schema
MAP = """
epoch = {epoch}
shards = 4
[servers.two]
database_url = "{two.service}"
owner_database_url = "{two.owner}"
[[ranges]]
shards = "0-1"
server = "own"
[[ranges]]
shards = "2-3"
server = "two"
"""


async def empty(postgres: Postgres) -> DatabaseUrls:
    """A database with nothing in it."""
    name = f"shards_{secrets.token_hex(4)}"
    await postgres.create_database(name, service=NAME)
    return postgres.urls(NAME, name)


def shards_of(own: DatabaseUrls, two: DatabaseUrls, epoch: int = 1) -> ShardMap:
    return parse(MAP.format(epoch=epoch, two=two), own.service, own.owner, owner=True)


async def migrate(home: Home) -> int:
    """How many revisions ran."""
    role = role_of(home.url, home.owner_url)
    done = await upgrade(NAME, SCHEMA, home.owner_url, role, turnable=True, home=home)
    return len(done.pending)


async def schemas(url: str) -> dict[str, Mark | None]:
    """The schemas of a database that hold a shard, with their marks."""
    async with as_owner(url) as db, db.begin():
        names = await db.execute(
            text(
                "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'shard%' OR nspname = 'public'"
            )
        )
        return {one: (await shard_marks.read(db, one))[1] for one in names.scalars().all()}


async def test_every_shard_has_the_tables_of_its_service_and_is_marked(postgres: Postgres) -> None:
    own, two = await empty(postgres), await empty(postgres)
    shards = shards_of(own, two)
    planned = [await plan(NAME, SCHEMA, one.owner_url, home=one) for one in shards.homes]
    assert (await schemas(own.owner), await schemas(two.owner)) == ({"public": None},) * 2
    ran = [await migrate(home) for home in shards.homes]
    assert ran == [len(one.pending) for one in planned]
    assert min(ran) > 0
    assert [await migrate(home) for home in shards.homes] == [0, 0, 0, 0]
    for home in shards.homes:
        assert await differences(SCHEMA, home.owner_url, home.schema) == []
        database = Database(home.url, pool_size=1, settings={"search_path": home.schema})
        async with database.begin() as db:
            await shard_marks.check(db, home)
            await db.execute(text("SELECT nextval('kit_node_seq')"))
            where = "SELECT CAST(CAST('push' AS regclass) AS oid) = CAST(:full AS regclass)"
            found = await db.execute(text(where), {"full": f"{home.schema}.push"})
            assert found.scalar_one()
            owned = await db.execute(
                text("SELECT has_schema_privilege(current_schema(), 'CREATE')")
            )
            assert not owned.scalar_one()
        await database.dispose()
    assert await schemas(own.owner) == {"public": Mark(0, 4, 1), "shard_01": Mark(1, 4, 1)}
    assert await schemas(two.owner) == {
        "public": None,
        "shard_02": Mark(2, 4, 1),
        "shard_03": Mark(3, 4, 1),
    }


async def test_a_process_takes_no_schema_that_its_map_does_not_mean(postgres: Postgres) -> None:
    own, two = await empty(postgres), await empty(postgres)
    first, second = shards_of(own, two, 5).homes[:2]
    await migrate(first)
    wrong = [
        (second, "shard_01 on own is not marked: shoudan migrate"),
        (replace(first, epoch=4), "public is at epoch 5, the map is of epoch 4"),
        (replace(first, epoch=6), "public is at epoch 5: shoudan migrate"),
        (replace(first, shards=8), "public is shard 0 of 4, the map says 0 of 8"),
        (replace(first, shards=1, epoch=0), "public is shard 0 of 4, and no map is set"),
    ]
    async with as_owner(own.owner) as db, db.begin():
        await shard_marks.check(db, first)
        for home, said in wrong:
            with pytest.raises(WrongShard, match=said):
                await shard_marks.check(db, home)


async def test_two_maps_of_one_epoch_are_refused(postgres: Postgres) -> None:
    own, two = await empty(postgres), await empty(postgres)
    first = shards_of(own, two).homes[0]
    await migrate(first)
    placed = MAP.format(epoch=1, two=two).replace('"0-1"', '"0"').replace('"2-3"', '"1-3"')
    other = parse(placed, own.service, own.owner, owner=True).homes[0]
    said = "public is at epoch 1 of another map: two maps have the same epoch"
    async with as_owner(own.owner) as db, db.begin():
        await shard_marks.check(db, first)
        with pytest.raises(WrongShard, match=said):
            await shard_marks.check(db, other)
        await db.execute(text("COMMENT ON SCHEMA public IS 'shoudan shard 0 of 4, epoch 1'"))
        await shard_marks.check(db, other)  # a mark of the release before names no map
    await migrate(first)
    with pytest.raises(WrongShard, match=said):
        await migrate(other)


async def test_a_migration_takes_a_higher_epoch_and_nothing_else(postgres: Postgres) -> None:
    own, two = await empty(postgres), await empty(postgres)
    home = shards_of(own, two, 5).homes[0]
    await migrate(home)
    for other in (
        replace(home, epoch=4),
        replace(home, shards=8),
        replace(home, shards=1, epoch=0),
    ):
        with pytest.raises(WrongShard):
            await plan(NAME, SCHEMA, own.owner, home=other)
        with pytest.raises(WrongShard):
            await migrate(other)
    await migrate(replace(home, epoch=6))
    assert await schemas(own.owner) == {"public": Mark(0, 4, 6)}


async def test_rows_of_a_service_with_one_shard_are_not_spread(
    postgres: Postgres, new_database: Callable[[str], Awaitable[DatabaseUrls]]
) -> None:
    one, two = await new_database(NAME), await empty(postgres)
    home = shards_of(one, two).homes[0]
    async with as_owner(one.owner) as db, db.begin():
        await db.execute(text("INSERT INTO task_pause VALUES ('a:b', 'lin', 'a look', now())"))
    for run in (migrate(home), plan(NAME, SCHEMA, one.owner, home=home)):
        with pytest.raises(
            WrongShard, match=r"public\.task_pause holds rows of a service with one"
        ):
            await run
    async with as_owner(one.owner) as db, db.begin():
        await db.execute(text("DELETE FROM task_pause"))
    await migrate(home)
    assert (await schemas(one.owner))["public"] == Mark(0, 4, 1)


async def test_the_command_migrates_what_answers_and_the_rest_when_it_is_run_again(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, two = await empty(postgres), await empty(postgres)
    monkeypatch.setattr(ErpSettings, "shardable", True)
    monkeypatch.setenv("SHOUDAN_ERP_INGEST_SHARDS", str(file := tmp_path / "map.toml"))
    monkeypatch.setenv("SHOUDAN_ERP_INGEST_DATABASE_URL", own.service)
    monkeypatch.setenv("SHOUDAN_ERP_INGEST_OWNER_DATABASE_URL", own.owner)
    runner, app = CliRunner(), collected()

    async def run(*words: str, at: DatabaseUrls) -> tuple[int, str]:
        file.write_text(MAP.format(epoch=1, two=at))
        ended = await asyncio.to_thread(runner.invoke, app, [*words, NAME])
        return ended.exit_code, " ".join(ended.output.split())

    away = DatabaseUrls(*(url.replace("/shards_", "/gone_") for url in (two.service, two.owner)))
    code, said = await run("migrate", at=away)
    assert code == 1
    assert "erp_ingest shard_02: the database is away" in said
    assert await schemas(own.owner) == {"public": None}  # all answer before one is changed
    code, said = await run("migrate", "--plan", at=two)
    assert (code, said.count("to run")) == (0, 4)
    assert await schemas(two.owner) == {"public": None}
    code, said = await run("migrate", "--server", "two", at=two)
    assert (code, said.count("at nothing")) == (0, 2)
    assert await schemas(own.owner) == {"public": None}
    code, said = await run("migrate", "--server", "three", at=two)
    assert (code, "one of own, two" in said) == (2, True)
    code, said = await run("migrate", at=two)
    assert (code, said.count("at nothing")) == (0, 2)
    code, said = await run("migrate", at=two)
    assert (code, said.count(", 0 run")) == (0, 4)
    placed = MAP.format(epoch=2, two=two).replace('"0-1"', '"0"').replace('"2-3"', '"1-3"')
    for more in ([], ["--plan"], ["--server", "own"]):
        file.write_text(placed)
        ended = await asyncio.to_thread(runner.invoke, app, ["migrate", NAME, *more])
        assert ended.exit_code == 1
        assert "shard 1 is not on two; a map alone does not move it" in ended.stderr
    assert (await schemas(own.owner))["public"] == Mark(0, 4, 1)
    code, said = await run("db", "parts", at=two)
    assert code == 0
    assert [said.count(f"{shard} │ event ") > 2 for shard in range(4)] == [True] * 4
