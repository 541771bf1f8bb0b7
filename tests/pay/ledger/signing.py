"""A pay service that keeps signed statements, and what somebody who may write its database could do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from grpc import aio
from sqlalchemy import text

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan.pay.v1 import ledger_service_pb2_grpc as stubs
from shoudan_kit.db.pool import Database
from shoudan_kit.embedded import DatabaseUrls, Postgres
from shoudan_kit.service import Process
from shoudan_pay.app import SERVICE
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger.chain_hash import origin_of, ring_of
from shoudan_pay.ledger.entries import Record, micros_since_1970
from shoudan_pay.ledger.head_files import read_logged
from shoudan_pay.ledger.statement_files import Kept, read_file, read_folder
from shoudan_pay.ledger.statements import Keys, keys_of
from shoudan_pay.ledger.store import records as record_store
from tests.pay.ledger.harness import YUAN, LedgerHarness, posting, settings, told
from tests.poll import eventually

BEYOND_ALL = 2**63 - 1
DAY_S = 86_400


@dataclass
class Turnable:
    """A database whose clock can be turned."""

    urls: DatabaseUrls
    postgres: Postgres

    async def turn(self, days: int) -> None:
        """For sessions from now on."""
        owner = Database(self.urls.owner)
        async with owner.connect() as db:
            name = (await db.execute(text("SELECT current_database()"))).scalar_one()
        await owner.dispose()
        shift = f"ALTER DATABASE {name} SET \"shoudan.clock_shift\" = '{days * DAY_S} s'"
        async with self.postgres.admin() as admin:
            await admin.execute(shift)


@dataclass
class SigningHarness(LedgerHarness):
    """A harness with a folder of statements; `owner` may do what the service may not."""

    folder: Path
    owner: Database

    @property
    def keys(self) -> Keys:
        """The keys of its statements."""
        return keys_of(self.process.settings)

    async def seal(self, *, restart: bool = False) -> pb.SealLedgerResponse:
        """The statement of the day, waited for."""
        found: list[pb.SealLedgerResponse] = []

        async def done() -> bool:
            request = pb.SealLedgerRequest(restart=restart)
            found.append(await told(self.stub.SealLedger(request)))
            return found[-1].done

        await eventually(done, 20)
        return found[-1]

    async def refused(self, *, restart: bool = False) -> list[str]:
        """Why no statement is signed."""
        made = await self.seal(restart=restart)
        assert made.number == 0
        return [f"{one.account_id}/{one.record_id}: {one.what}" for one in made.progress.findings]

    async def proof(self, *, full: bool = False) -> pb.VerifyResponse:
        """The outcome of a proof."""
        told_ = [one async for one in self.stub.Verify(pb.VerifyRequest(full=full))]
        return told_[-1]

    async def full_findings(self) -> list[str]:
        """What a proof of every record has to say."""
        last = await self.proof(full=True)
        return [f"{one.account_id}/{one.record_id}: {one.what}" for one in last.findings]

    def files(self) -> list[Path]:
        """The statements in the folder, oldest first."""
        return sorted(self.folder.glob("statement-*"))

    def logs(self) -> list[Path]:
        """The files of the head log."""
        return sorted(self.folder.glob("heads-*"))

    async def logged(self, *keys: pb.AccountKey) -> None:
        """Wait until the head log has every record of these accounts."""
        wanted = {key.eid: (await self.stored(key))[-1] for key in keys}

        async def there() -> bool:
            since = read_folder(self.folder, self.keys).restart
            known = read_logged(self.folder, self.keys, since).heads
            heads = [known.get(one.account_id) for one in wanted.values()]
            return [one and one.hash for one in heads] == [one.hash for one in wanted.values()]

        await eventually(there)

    def kept(self) -> Kept:
        """The newest statement."""
        return read_file(self.files()[-1], self.keys)

    async def chain(self, count: int = 5) -> pb.AccountKey:
        """An account with so many records of a yuan."""
        key = await self.account()
        await self.groups(*[[posting(key, YUAN)] for _ in range(count)])
        return key

    async def id_of(self, key: pb.AccountKey) -> int:
        """The account's number."""
        found = await told(self.stub.GetAccount(pb.GetAccountRequest(key=key)))
        return found.account.account_id

    async def stored(self, key: pb.AccountKey) -> list[Record]:
        """Its records as they are stored, oldest first."""
        account_id = await self.id_of(key)
        async with self.owner.connect() as db:
            return await record_store.chain(
                db, after=(account_id, 0), last_id=account_id, most=1000
            )

    async def run(self, sql: str, **binds: Any) -> int:
        """One statement as the owner; how many rows it changed."""
        async with self.owner.begin() as db:
            changed: Any = await db.execute(text(sql), binds)
            return changed.rowcount

    async def cut(self, key: pb.AccountKey, left: int) -> None:
        """Remove the newest records but `left`, and set the account's row back to match."""
        records = await self.stored(key)
        account_id = records[0].account_id
        sql = "DELETE FROM account_record WHERE account_id = :id AND seq > :seq"
        assert await self.run(sql, id=account_id, seq=left) == len(records) - left
        await self._set_row(records[:left], account_id)

    async def rewrite(self, key: pb.AccountKey, seq: int, micros: int, first: int = 1) -> None:
        """Change the amount of one record and seal the chain again from `first`, with the ledger's key."""
        ring, made = ring_of(self.process.settings), list[Record]()
        for record in await self.stored(key):
            amount = micros if record.seq == seq else record.amount_micros
            before = made[-1] if made else None
            balance = amount + (before.balance_micros if before else 0)
            new = msgspec.structs.replace(record, amount_micros=amount, balance_micros=balance)
            facts = {name: getattr(new, name) for name in new.__struct_fields__}
            facts["time_micros"] = micros_since_1970(facts.pop("create_time"))
            del facts["hash"]
            origin = [facts.pop(name) for name in ("day", "about", "source", "operator")]
            facts["origin"] = origin_of(*origin)
            sealed = ring.seal(before.hash if before else b"", **facts)
            made.append(msgspec.structs.replace(new, hash=sealed))
        sql = """UPDATE account_record SET amount_micros = :amount, balance_micros = :balance, hash = :hash
            WHERE record_id = :id"""
        for new in made[first - 1 :]:
            binds = {"amount": new.amount_micros, "balance": new.balance_micros, "hash": new.hash}
            await self.run(sql, id=new.record_id, **binds)
        await self._set_row(made, made[0].account_id)

    async def _set_row(self, records: Sequence[Record], account_id: int) -> None:
        last = records[-1] if records else None
        sql = """UPDATE account_info SET seq = :seq, balance_micros = :balance, head_hash = :head
            WHERE account_id = :id"""
        binds = {
            "seq": len(records),
            "balance": last.balance_micros if last else 0,
            "head": last.hash if last else b"",
        }
        assert await self.run(sql, id=account_id, **binds) == 1


@asynccontextmanager
async def opened(
    base: Turnable, folder: Path | None, *, day: int = 0, **given: Any
) -> AsyncGenerator[SigningHarness]:
    """A pay service so many days from now, with its statements in `folder`."""
    owner = Database(base.urls.owner)
    await base.turn(day)
    made = settings(base.urls, ledger_statements_dir=folder, verify_at="", listen_port=0, **given)
    process: Process[PaySettings] = Process(SERVICE, made)
    await process.start()
    try:
        async with aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
            stub = stubs.LedgerServiceStub(channel)
            yield SigningHarness(process, stub, base.urls, folder or Path("/nowhere"), owner)
    finally:
        await process.stop()
        await owner.dispose()


@asynccontextmanager
async def sealed_yesterday(base: Turnable, folder: Path) -> AsyncGenerator[SigningHarness]:
    """A harness whose statement 1 is of the day before, with an account of five records in it."""
    async with opened(base, folder, day=-1) as before:
        await before.chain()
        assert (await before.seal()).number == 1
    async with opened(base, folder) as today:
        yield today


async def first_key(signing: SigningHarness) -> pb.AccountKey:
    """The account that all the tests hurt."""
    request = pb.ListAccountsRequest(groups_prefix="down_channel")
    return (await told(signing.stub.ListAccounts(request))).accounts[0].key
