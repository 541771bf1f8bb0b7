"""Promises of a shard that moves: pushes go on, each acknowledged one is there once, a kill is repeated."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from typer.testing import CliRunner

from shoudan.erp.v1 import erp_service_pb2 as pb
from shoudan_cli.main import collected
from shoudan_erp_ingest.app import SERVICE
from shoudan_kit.config import ConfigError
from shoudan_kit.db import shard_copy, shard_move
from shoudan_kit.db.migrate import role_of, upgrade
from shoudan_kit.db.owner import as_owner
from shoudan_kit.db.pool import Database
from shoudan_kit.db.shard_copy import MoveFailed
from shoudan_kit.db.shard_keys import shard_of_key
from shoudan_kit.db.shard_map import ShardMap, parse
from shoudan_kit.db.shard_map_text import edited, replace_file
from shoudan_kit.db.shard_marks import WrongShard
from shoudan_kit.db.shard_move import Move
from shoudan_kit.embedded import DatabaseUrls, Postgres
from shoudan_kit.service import Process
from tests.erp_ingest.conftest import NAME, open_desk
from tests.erp_ingest.harness import ErpHarness, body, settings, trade
from tests.poll import eventually

CUSTOMERS = [f"customer-{n}" for n in range(6)]
MOVED = [one for one in CUSTOMERS if shard_of_key([one], 2) == 1]
STAYED = [one for one in CUSTOMERS if shard_of_key([one], 2) == 0]
RUNNER = CliRunner()
AWAY = "ERROR_REASON_SHARD_AWAY"
POINTS = ("prepared", "copying", "copied", "fenced", "caught_up", "whole", "arrived", "left")
MAP = """# who changes this raises the epoch
epoch = 1
shards = 2

[servers.two]  # in the other room
database_url = "{two.service}"
owner_database_url = "{two.owner}"
spare = true

[[ranges]]
shards = "0-1"
server = "own"
"""


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[Postgres]:
    """A server whose owner may copy shards, as docs/operations.md says."""
    async with await Postgres.start(profile="test") as made:
        async with made.admin() as db:
            await db.execute("ALTER SYSTEM SET wal_level = 'logical'")
            await db.execute("ALTER ROLE shoudan_owner REPLICATION")
            await db.execute("GRANT pg_create_subscription TO shoudan_owner")
        await made.restart()
        yield made


@dataclass
class Place:
    """A service's two shards on one server, a spare one, and the map."""

    own: DatabaseUrls
    two: DatabaseUrls
    file: Path
    acked: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    @property
    def known(self) -> ShardMap:
        return parse(self.file.read_text(), *self.own, owner=True)

    def move(self, server: str = "two") -> Move:
        known = self.known
        assert SERVICE.schema is not None
        return Move(NAME, SERVICE.schema, 1, known, known.moved(1, server), turnable=True)

    def switch(self, move: Move) -> None:
        replace_file(self.file, edited(self.file.read_text(), move.after))


@pytest.fixture
async def place(server: Postgres, tmp_path: Path) -> Place:
    return await placed(server, tmp_path)


async def placed(server: Postgres, folder: Path) -> Place:
    """Two databases of their own; the shards are in the first one."""
    found: list[DatabaseUrls] = []
    for which in ("own", "two"):
        name = f"erp_{which}_{secrets.token_hex(4)}"
        await server.create_database(name, service=NAME)
        found.append(server.urls(NAME, name))
    place = Place(*found, folder / "map.toml")
    place.file.write_text(MAP.format(two=place.two))
    for home in place.known.homes:
        role = role_of(home.url, home.owner_url)
        assert SERVICE.schema is not None
        await upgrade(NAME, SERVICE.schema, home.owner_url, role, turnable=True, home=home)
    return place


def opened(place: Place, **more: Any) -> Any:
    return open_desk(place.own, **{"shards": place.file, "customers": CUSTOMERS, **more})


def silent(_: object) -> None:
    """No progress is shown."""


async def push(harness: ErpHarness, customer: str, tid: str) -> str:
    """Why a push was refused; empty when it was acknowledged."""
    try:
        (result,) = await harness.push(body(trade(tid=tid)), sender=customer)
    except aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return str(error.details()).partition("(")[0]
    return result.refusal.reason


async def pushed(harness: ErpHarness, customer: str, tid: str) -> bool:
    return not await push(harness, customer, tid)


@asynccontextmanager
async def load(place: Place, harness: ErpHarness) -> AsyncGenerator[Callable[[], int]]:
    """Senders that push one trade after the other, and repeat a refused one until it is acknowledged."""
    ended = asyncio.Event()

    async def send(customer: str) -> None:
        acked, n = place.acked.setdefault(customer, []), 0
        while not ended.is_set():
            n += 1
            again = partial(pushed, harness, customer, f"{customer}-{n}")
            await eventually(again, 60, every_s=0.05)
            acked.append(f"{customer}-{n}")

    senders = (*MOVED[:2], STAYED[0])  # more of them would load the machine, and say no more
    tasks = [asyncio.create_task(send(one)) for one in senders]
    yield lambda: sum(map(len, place.acked.values()))
    ended.set()
    await asyncio.gather(*tasks)


async def rows(owner_url: str, sql: str) -> list[Any]:
    async with as_owner(owner_url) as db, db.begin():
        return list((await db.execute(text(sql))).all())


async def whole(place: Place, owner_url: str) -> None:
    """Every acknowledged push of the moved shard is at this place once, and none beside them."""
    wanted = sorted((one, tid) for one in MOVED for tid in place.acked.get(one, []))
    found = await rows(owner_url, "SELECT customerid, tid FROM shard_01.trade ORDER BY 1, 2")
    assert sorted(map(tuple, found)) == wanted
    raw = await rows(owner_url, "SELECT count(*), count(DISTINCT push_id) FROM shard_01.push")
    assert raw[0][0] == raw[0][1] >= len(wanted)


async def served_from(harness: ErpHarness, server: str) -> None:
    await eventually(lambda: harness.process.cells[1].app.home.server == server, within_s=15)
    await eventually(lambda: harness.process.cells[1].is_open)


@pytest.mark.slow
async def test_a_shard_moves_under_load_and_each_push_is_there_once(place: Place) -> None:
    async with opened(place) as harness:
        async with load(place, harness) as count:
            await eventually(lambda: count() > 30)
            move = place.move()
            shown: list[shard_copy.Progress] = []
            away_s = await shard_move.run(move, shown.append)
            place.switch(move)
            await served_from(harness, "two")
            before = {one: len(place.acked[one]) for one in MOVED[:2]}
            await eventually(
                lambda: all(len(place.acked[one]) > n + 3 for one, n in before.items())
            )
        assert shown[-1].ready == shown[-1].tables > 10
        assert away_s < 10
        await whole(place, place.two.owner)
        export = harness.stub.ExportTrades(pb.ExportTradesRequest())
        seen = [one.no async for message in export for one in message.trades]
        assert sorted(seen) == sorted(tid for acked in place.acked.values() for tid in acked)
        assert await harness.process.reasons() == {}
    nodes = "SELECT node, used_until_ms FROM shard_01.id_node WHERE used_until_ms > 0"
    old, new = [dict(map(tuple, await rows(one.owner, nodes))) for one in (place.own, place.two)]
    assert all(new[node] >= until for node, until in old.items())  # numbers are not made twice
    drawn = "SELECT last_value FROM shard_01.kit_node_seq"
    drew = [(await rows(one.owner, drawn))[0][0] for one in (place.own, place.two)]
    assert drew[1] > drew[0]


@pytest.mark.slow
async def test_a_move_killed_at_each_step_goes_on_and_loses_nothing(place: Place) -> None:
    async with opened(place) as harness, load(place, harness) as count:
        await eventually(lambda: count() > 10)
        for point in POINTS:
            code, said = await command(place, "move", NAME, "1", "two", fault=point)
            assert code == 137, (point, said)
        code, said = await command(place, "move", NAME, "1", "two")
        assert code == 0, said
        assert place.known.epoch == 2
        assert "# in the other room" in place.file.read_text()
        await served_from(harness, "two")
        before = count()
        await eventually(lambda: count() > before + 10)
    await whole(place, place.two.owner)
    left = "SELECT (SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM pg_subscription)"
    for one in (place.own, place.two):
        assert (await rows(one.owner, left))[0][0] == 0
    slots = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()"
    assert (await rows(place.own.owner, slots))[0][0] == 0
    code, said = await command(place, "drop", NAME, "1", "own")
    assert code == 0, said
    assert (
        await rows(place.own.owner, "SELECT 1 FROM pg_namespace WHERE nspname = 'shard_01'") == []
    )


def environment(place: Place) -> dict[str, str]:
    """What the command reads."""
    return {
        "SHOUDAN_PROFILE": "test",
        "SHOUDAN_ERP_INGEST_DATABASE_URL": place.own.service,
        "SHOUDAN_ERP_INGEST_OWNER_DATABASE_URL": place.own.owner,
        "SHOUDAN_ERP_INGEST_SHARDS": str(place.file),
    }


async def command(place: Place, *words: str, fault: str = "") -> tuple[int, str]:
    """`shoudan shard …` in a process of its own, which may die at a point of the move."""
    environ = os.environ | environment(place)
    if fault:
        environ["SHOUDAN_FAULTS"] = f"shard.move.{fault}:exit"
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "shoudan_cli", "shard", *words),
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await child.communicate()
    assert child.returncode is not None
    return child.returncode, said.decode()


async def test_a_writer_of_before_is_refused_and_repeats_what_it_had(place: Place) -> None:
    async with opened(place) as harness:
        await push(harness, MOVED[0], "A")
        move = place.move()
        await shard_move.run(move, silent)
        assert await push(harness, MOVED[0], "B") == AWAY  # its map is that of before
        assert await push(harness, STAYED[0], "B") == ""
        asleep = Database(
            move.source.url, pool_size=1, settings={"search_path": move.source.schema}
        )
        for sql in ("DELETE FROM outbox", "SELECT count(*) FROM trade"):
            with pytest.raises(DBAPIError, match="permission denied"):
                async with asleep.begin() as db:
                    await db.execute(text(sql))
        await asleep.dispose()
        late = Process(SERVICE, settings(place.own, shards=place.file))
        with pytest.raises(ConfigError, match="the map is of epoch 1"):
            await late.start()
        await late.stop()
        place.switch(move)
        await served_from(harness, "two")
        assert await push(harness, MOVED[0], "B") == ""
    found = await rows(place.two.owner, "SELECT tid FROM shard_01.trade ORDER BY 1")
    assert [one[0] for one in found] == ["A", "B"]
    at_home = await rows(place.own.owner, "SELECT tid FROM shard_01.trade")
    assert [one[0] for one in at_home] == ["A"]


async def test_a_move_that_is_undone_leaves_all_as_it_was(place: Place) -> None:
    async with opened(place) as harness:
        await push(harness, MOVED[0], "A")
        move = place.move()
        assert await shard_move.run(move, silent, copy_only=True) == 0
        assert await push(harness, MOVED[0], "B") == ""
        with pytest.raises(WrongShard, match="shard_01 is leaving: end its move first"):
            await upgrade(NAME, move.schema, move.source.owner_url, move.role, home=move.source)
        await shard_move._fence(move)
        assert await push(harness, MOVED[0], "C") == AWAY
        await shard_move.undo(move)
        await eventually(lambda: pushed(harness, MOVED[0], "C"))
        assert (
            await rows(place.two.owner, "SELECT 1 FROM pg_namespace WHERE nspname = 'shard_01'")
            == []
        )
        await shard_move.undo(move)  # a repeat changes nothing
        await upgrade(NAME, move.schema, move.source.owner_url, move.role, home=move.source)


async def test_a_copy_that_differs_is_not_switched_to(place: Place) -> None:
    async with opened(place) as harness:
        await push(harness, MOVED[0], "A")
        move = place.move()
        await shard_move.run(move, silent, copy_only=True)
        async with as_owner(place.two.owner) as db, db.begin():
            await db.execute(text("UPDATE shard_01.trade SET tid = 'X'"))
        with pytest.raises(MoveFailed, match=r'the copy differs: shard_01."trade": 1 rows'):
            await shard_move.run(move, silent)
        await eventually(lambda: pushed(harness, MOVED[0], "B"))  # the old place serves again
        assert place.known.epoch == 1


async def test_what_stands_against_a_move_is_said_before_anything_is_changed(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = await placed(postgres, tmp_path)
    found = await shard_move.problems(place.move())
    assert found == [
        "own: wal_level is replica; set it to logical and restart",
        'own: ALTER ROLE "shoudan_owner" REPLICATION',
        'two: GRANT pg_create_subscription TO "shoudan_owner"',
    ]
    with pytest.raises(MoveFailed, match="wal_level is replica"):
        await shard_move.run(place.move(), silent)
    for name, value in environment(place).items():
        monkeypatch.setenv(name, value)

    async def refused(*words: str) -> str:
        ended = await asyncio.to_thread(RUNNER.invoke, collected(), ["shard", *words])
        assert (ended.exit_code, type(ended.exception)) == (1, SystemExit)
        return " ".join(ended.output.split())

    said = await refused("move", NAME, "1", "two", "--plan")
    assert "shard_01: own to two" in said
    assert "wal_level is replica" in said
    for words, why in (
        (("move", NAME, "1", "own"), "shard 1 is on own"),
        (("move", NAME, "2", "two"), "there are 2 shards"),
        (("move", NAME, "1", "three"), "the map has no server three: add it with spare = true"),
        (("move", NAME, "0", "two"), "shard 0 is where the settings' database is"),
        (("drop", NAME, "1", "two"), "shard_01 on two is not a copy that was left behind"),
        (("split-plan", NAME, "two"), "name each server once, own among them"),
        (("split-plan", NAME, "own", "four"), "the map has no server four"),
    ):
        assert why in await refused(*words)
    planned = await asyncio.to_thread(
        RUNNER.invoke, collected(), ["shard", "split-plan", NAME, "own", "two"]
    )
    assert planned.output.split() == ["shoudan", "shard", "move", NAME, "1", "two"]
    assert (
        await rows(place.two.owner, "SELECT 1 FROM pg_namespace WHERE nspname = 'shard_01'") == []
    )
