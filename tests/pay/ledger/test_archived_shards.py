"""Promise: the ledger of every shard leaves by itself, to one place, and is proved from it."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.archive.place import Place
from shoudan_kit.db.owner import as_owner
from shoudan_kit.db.shard_map import read
from shoudan_pay.ledger import closing
from shoudan_pay.ledger.archived_files import prove
from shoudan_pay.ledger.chain_hash import trust_of
from shoudan_pay.ledger.days import day_of
from shoudan_pay.ledger.store import days as store
from shoudan_pay.ledger.store.retention import RECORDS
from tests.archived import archived_days
from tests.pay.ledger.harness import YUAN, posting
from tests.pay.test_shards import NO_CUT, SHARDS, USERS, key, opened
from tests.shard_maps import Maps


async def test_records_of_every_shard_leave_to_one_place_and_are_proved_from_it(
    new_map: Maps, tmp_path: Path
) -> None:
    urls, file = await new_map("pay", SHARDS)
    async with opened(urls, shards=file) as harness:
        days: list[date] = []
        for turn in range(2):
            await harness.groups(*[[posting(key(one), YUAN, f"{one}-{turn}")] for one in USERS])
            async with harness.process.app.db.connect() as db:
                days.append(day_of(await store.now(db), NO_CUT) + timedelta(days=turn))
            for cell in harness.process.cells:
                await closing.close(cell.app, days[-1], NO_CUT)
        homes = read(file, urls.service, urls.owner, owner=True).homes
        trust, gone = trust_of(harness.process.settings), 0
        for home in homes:
            async with as_owner(home.owner_url, home.schema) as db:
                async with db.begin():
                    await db.exec_driver_sql(
                        "INSERT INTO ledger_statement (statement_no, day, hash, create_time)"
                        " VALUES (1, '2099-01-01', '', now())"
                    )
                done = await archived_days(
                    home.owner_url, "pay", RECORDS, tmp_path, days, schema=home.schema
                )
                gone += sum(one.gone for one in done)
                found = await prove(db, Place(str(tmp_path)), home.schema, trust)
                assert (found.records, found.findings) == (sum(one.gone for one in done), [])
        assert gone == len(USERS)
        for shard in range(SHARDS):
            last = [one async for one in harness.stub.Verify(pb.VerifyRequest(shard=shard))][-1]
            assert list(last.findings) == []
        for one in USERS:
            assert (await harness.post(posting(key(one), YUAN, f"{one}-0"))).existed
            assert await harness.balance(key(one)) == 2 * YUAN
