"""Promises of a shard of the ledger that moves: postings go on, each is there once, its ledger is whole."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpc import aio

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.db import shard_move
from shoudan_kit.db.shard_keys import SERIALS, shard_of_number
from shoudan_kit.db.shard_map import ShardMap, read
from shoudan_kit.db.shard_map_text import edited, replace_file
from shoudan_kit.db.shard_move import Move
from shoudan_kit.embedded import DatabaseUrls, Postgres
from shoudan_kit.rpc.refusal import Refused
from shoudan_pay.app import SERVICE
from tests.pay.ledger.harness import YUAN, LedgerHarness, deduct, posting, reason
from tests.pay.test_shards import USERS, key, opened, shard_of, whole
from tests.poll import eventually
from tests.shard_maps import migrate

MAP = """epoch = 1
shards = 2

[servers.two]
database_url = "{two.service}"
owner_database_url = "{two.owner}"
spare = true

[[ranges]]
shards = "0-1"
server = "own"
"""
PAGE = 1_000
MOVED = [one for one in USERS if shard_of(one, 2) == 1]
STAYED = [one for one in USERS if shard_of(one, 2) == 0]


@pytest.fixture
async def server() -> AsyncIterator[Postgres]:
    """A server whose owner may copy shards, as docs/operations.md says."""
    async with await Postgres.start(profile="test") as made:
        async with made.admin() as db:
            await db.execute("ALTER SYSTEM SET wal_level = 'logical'")
            await db.execute("ALTER ROLE shoudan_owner REPLICATION")
            await db.execute("GRANT pg_create_subscription TO shoudan_owner")
        await made.restart()
        yield made


def written(file: Path) -> str:
    return file.read_text()


async def placed(server: Postgres, folder: Path) -> tuple[DatabaseUrls, Path]:
    """Two shards in one database, and another one to move to."""
    found: list[DatabaseUrls] = []
    for which in ("own", "two"):
        name = f"pay_{which}_{secrets.token_hex(4)}"
        await server.create_database(name, service="pay")
        found.append(server.urls("pay", name))
    own, two = found
    (file := folder / "map.toml").write_text(MAP.format(two=two))
    await migrate("pay", written(file), own)
    return own, file


async def spend(harness: LedgerHarness, user: str, over: asyncio.Event) -> int:
    """One posting after the other, each repeated until it is acknowledged; how many there were."""
    made = 0

    async def posted() -> bool:
        (answer,) = await harness.groups([deduct(key(user), YUAN, f"{user}-{made}")])
        if isinstance(answer, Refused):
            assert reason(answer) == "SHARD_AWAY", answer
            return False
        return True

    async def acknowledged() -> bool:
        try:
            return await posted()
        except (aio.AioRpcError, Refused):  # UNAVAILABLE as a whole: the same key again
            return False

    while not over.is_set():
        await eventually(acknowledged, 60, every_s=0.05)
        made += 1
    return made


@pytest.mark.slow
async def test_a_ledger_moves_to_another_server_while_it_is_posted_to(
    server: Postgres, tmp_path: Path
) -> None:
    own, file = await placed(server, tmp_path)
    (folder := tmp_path / "statements").mkdir()
    assert SERVICE.schema is not None
    given = {"shards": file, "ledger_statements_dir": folder, "verify_at": ""}
    async with opened(own, **given) as harness:
        await harness.groups(*[[posting(key(one), 10_000 * YUAN)] for one in USERS])

        async def sealed() -> bool:
            return (await harness.stub.SealLedger(pb.SealLedgerRequest(shard=1))).done

        await eventually(sealed, 20)
        over = asyncio.Event()
        users = (MOVED[0], MOVED[1], STAYED[0])
        spending = [asyncio.create_task(spend(harness, one, over)) for one in users]
        before: ShardMap = read(file, *own, owner=True)
        move = Move("pay", SERVICE.schema, 1, before, before.moved(1, "two"), turnable=True)
        await shard_move.run(move, lambda _: None)
        replace_file(file, edited(written(file), move.after))
        await eventually(lambda: harness.process.cells[1].app.home.server == "two", 20)
        over.set()
        made = dict(zip(users, await asyncio.gather(*spending), strict=True))
        assert min(made.values()) > 0
        for one in users:
            await harness.groups(
                [deduct(key(one), YUAN, f"{one}-0")]
            )  # a repeat of before the move
            assert await harness.balance(key(one)) == (10_000 - made[one]) * YUAN
            page = await harness.records(key(one), page_size=PAGE)
            assert len(page) == min(PAGE, 1 + made[one])  # a quick machine makes more than a page
        last = [one async for one in harness.stub.Verify(pb.VerifyRequest(shard=1))][-1]
        assert (last.done, list(last.findings), last.since_statement) == (True, [], 1)
        fresh = next(f"fresh-{n}" for n in range(99) if shard_of(f"fresh-{n}", 2) == 1)
        item = pb.CreateAccountsRequest.Item(key=key(fresh))
        (result,) = (
            await harness.stub.CreateAccounts(pb.CreateAccountsRequest(items=[item]))
        ).results
        assert result.account.account_id > SERIALS + 86_000
        assert shard_of_number(result.account.account_id, 2) == 1
        await whole(harness)
