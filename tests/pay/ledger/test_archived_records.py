"""Promises: records of closed days leave from the front of their chain; repeats, refunds and proofs go on as
before, nothing is deleted that its file does not hold, and the files prove themselves."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from sqlalchemy import text
from typer.testing import CliRunner

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan.pay.v1 import ledger_service_pb2_grpc as stubs
from shoudan_cli.main import collected
from shoudan_kit import faults
from shoudan_kit.archive.ended import Done
from shoudan_kit.archive.place import ArchiveFailed, Place
from shoudan_kit.db.ended import GOES, Hold
from shoudan_kit.db.owner import as_owner
from shoudan_kit.db.shard_map import FIRST_SCHEMA
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.service import Process
from shoudan_pay.app import SERVICE
from shoudan_pay.ledger import closing
from shoudan_pay.ledger.archived_files import prove
from shoudan_pay.ledger.chain_hash import trust_of
from shoudan_pay.ledger.store.retention import RECORDS
from shoudan_pay.ledger.verify import Limits, Scope, verify
from tests import archived as runs
from tests.pay.ledger.harness import (
    YUAN,
    LedgerHarness,
    deduct,
    posting,
    reason,
    refund,
    refusal_of,
    reverse_add,
    settings,
)
from tests.pay.ledger.test_closing import NO_CUT, exported, today

DAYS = 3


@dataclass
class Old(LedgerHarness):
    """A ledger with closed days, two accounts that moved on each, one that moved on the first alone."""

    days: list[date]
    busy: pb.AccountKey
    other: pb.AccountKey
    still: pb.AccountKey

    async def archived(self, place: Path, **bounds: Any) -> list[Done]:
        bounds.setdefault("copied", self.days)
        return await runs.archived_days(self.urls.owner, "pay", RECORDS, place, **bounds)

    async def owner(self, sql: str, **binds: Any) -> list[Any]:
        async with as_owner(self.urls.owner) as db, db.begin():
            done = await db.execute(text(sql), binds)
            return list(done.all()) if done.returns_rows else []

    async def close(self) -> None:
        """Close the day that records get now."""
        day = await today(self) if not self.days else self.days[-1] + timedelta(days=1)
        await closing.close(self.process.app, day, NO_CUT)
        self.days.append(day)

    async def seal(self, day: date) -> None:
        """A statement was signed on this day."""
        await self.owner(
            "INSERT INTO ledger_statement (statement_no, day, hash, create_time) SELECT"
            " coalesce(max(statement_no), 0) + 1, :day, '\\x00', now() FROM ledger_statement",
            day=day,
        )

    async def proved(self, place: Path) -> tuple[int, list[str]]:
        """The proof of the files."""
        trust = trust_of(self.process.settings)
        async with as_owner(self.urls.owner) as db:
            found = await prove(db, Place(str(place)), FIRST_SCHEMA, trust)
        return found.records, [one.what for one in found.findings]

    async def whole(self) -> list[str]:
        """The proof of every record, in pages and pieces of two."""
        limits = Limits(trust_of(self.process.settings), 2, run_accounts=2, run_pages=1)
        last = [one async for one in verify(self.process.app.db, Scope(), limits)][-1]
        assert last.done
        return [f"{one.account_id}: {one.what}" for one in last.findings]

    async def left(self) -> int:
        return int((await self.owner("SELECT count(*) FROM account_record"))[0][0])


@pytest.fixture
async def old(new_database: Callable[[str], Awaitable[DatabaseUrls]]) -> AsyncIterator[Old]:
    urls = await new_database("pay")
    process = Process(SERVICE, settings(urls))
    await process.start()
    async with aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        stub: Any = stubs.LedgerServiceStub(channel)
        bare = LedgerHarness(process, stub, urls)
        keys = [await bare.account() for _ in range(3)]
        made = Old(process, stub, urls, [], *keys)
        await made.post(posting(made.still, YUAN, "still"))
        for day in range(DAYS):
            for name, key in (("a", made.busy), ("b", made.other)):
                await made.post(posting(key, 100 * YUAN, f"{name}{day}"))
                await made.post(deduct(key, 10 * YUAN, f"{name}{day}-d", memo="goods"))
                await made.post(refund(key, 2 * YUAN, f"{name}{day}-d", f"{name}{day}-r"))
            await made.close()
        await made.seal(made.days[-1] + timedelta(days=400))
        yield made
    await process.stop()


# Of three days and three records each the last one stays, of both accounts; of the third its only one.
ALL = 2 * (DAYS * 3 - 1)


async def test_records_leave_and_everything_is_answered_as_before(old: Old, tmp_path: Path) -> None:
    before = await old.owner("SELECT count(*), max(seq) FROM account_record")
    assert tuple(before[0]) == (19, 9)
    first = await old.post(deduct(old.busy, 10 * YUAN, "a0-d", memo="goods"))
    done = await old.archived(tmp_path)
    assert [one.gone for one in done] == [4, 6, 6]
    assert [one.lot_no for one in done] == [f"day_{day:%Y%m%d}_1" for day in old.days]
    assert await old.left() == 19 - ALL
    assert await old.archived(tmp_path) == []

    again = await old.post(deduct(old.busy, 10 * YUAN, "a0-d"))
    assert again.existed
    assert (again.record.record_id, again.record.seq, again.record.balance_micros) == (
        first.record.record_id,
        first.record.seq,
        first.record.balance_micros,
    )
    assert again.record.contra_account_id == first.record.contra_account_id
    differs = await refusal_of(old.post(deduct(old.busy, 11 * YUAN, "a0-d")))
    assert reason(differs) == "POSTING_DIFFERS"
    too_high = await refusal_of(old.post(refund(old.busy, 9 * YUAN, "a0-d")))
    assert (reason(too_high), too_high.metadata["refunded_micros"]) == (
        "REFUND_TOO_HIGH",
        str(2 * YUAN),
    )
    await old.post(refund(old.busy, 8 * YUAN, "a0-d", "rest"))
    await old.post(reverse_add(old.busy, "a1"))
    twice = await refusal_of(old.post(reverse_add(old.busy, "a1")))
    assert reason(twice) == "ALREADY_REVERSED"
    assert await old.balance(old.busy) == (276 + 8 - 100) * YUAN
    assert await old.findings() == []
    assert await old.findings("oms") == []
    assert await old.whole() == []
    kept = await old.records(old.busy)
    assert [one.seq for one in kept] == [11, 10, 9]

    at = Timestamp()
    at.FromDatetime(datetime.now(UTC) + timedelta(days=1))
    found = await old.stub.GetBalance(pb.GetBalanceRequest(key=old.busy, time=at))
    assert found.balance_micros == 184 * YUAN
    at.FromDatetime(first.record.create_time.ToDatetime(UTC))
    left = await refusal_of(_told(old.stub.GetBalance(pb.GetBalanceRequest(key=old.busy, time=at))))
    assert "archived" in left.metadata["why"]
    number = first.record.account_id
    gone = await refusal_of(_told(exported(old, (number, 1, 3))))
    assert "archived up to seq 8" in gone.metadata["why"]
    assert [one.seq for one in await exported(old, (number, 9, 11))] == [9, 10, 11]

    await old.close()  # begins with the record that stayed
    period = pb.ListAccountDaysRequest(
        account=old.busy, from_day=old.days[0].isoformat(), to_day=old.days[-1].isoformat()
    )
    days = (await old.stub.ListAccountDays(period)).days
    assert [one.closing_micros // YUAN for one in days] == [92, 184, 276, 184]
    assert days[-1].opening_micros == 276 * YUAN
    assert await old.proved(tmp_path) == (ALL, [])
    assert [one.gone for one in await old.archived(tmp_path)] == [2]
    assert await old.findings() == []
    assert await old.proved(tmp_path) == (ALL + 2, [])


async def _told(call: Any) -> Any:
    try:
        return await call
    except aio.AioRpcError as error:
        from shoudan_kit.rpc.refusal import refused_from_rpc

        raise refused_from_rpc(error) or error from None


async def test_only_days_that_are_sealed_copied_and_not_held_leave_and_none_before_another(
    old: Old, tmp_path: Path
) -> None:
    async def stay(copied: Sequence[date], *holds: Hold) -> dict[str, int]:
        return dict(await runs.days_stay(old.urls.owner, RECORDS, copied, *holds))

    every = {GOES: 19}
    assert await stay(old.days) == every
    assert await stay(old.days[1:]) == {"uncopied": 7, "behind": 12}
    eid = old.busy.eid
    far = datetime.now(UTC) + timedelta(days=30)
    for hold, expected in (
        (Hold(0, eid, None, None), {"hold": 9, GOES: 10}),
        (Hold(0, eid, far, None), every),
        (Hold(0, eid, None, far - timedelta(days=90)), every),
        (Hold(0, "nobody", None, None), every),
        (Hold(77, "", None, None), every),
    ):
        assert await stay(old.days, hold) == expected, hold
    await old.owner("UPDATE ledger_statement SET day = :day", day=date(2020, 1, 1))
    assert await stay(old.days) == {"unsealed": 19}
    assert await old.archived(tmp_path) == []
    assert await old.left() == 19


async def test_an_order_s_hold_keeps_its_account_from_that_day_on(old: Old, tmp_path: Path) -> None:
    await old.post(posting(old.busy, YUAN, "4711"))
    await old.close()

    async def holds() -> Sequence[Hold]:
        return [Hold(4711, "", None, None)]

    done = await old.archived(tmp_path, holds=holds)
    assert [one.gone for one in done] == [4, 6, 6]
    assert await runs.days_stay(old.urls.owner, RECORDS, old.days, *await holds()) == {
        "hold": 1,
        GOES: 3,  # the last ones, which stay until a later day leaves
    }
    # Lifted, what was held leaves with a lot of its own.
    assert [one.gone for one in await old.archived(tmp_path)] == [1]
    assert await old.proved(tmp_path) == (ALL + 1, [])


async def test_a_hold_set_while_a_day_is_written_keeps_its_account_and_all_behind(
    old: Old, tmp_path: Path
) -> None:
    looks = 0

    async def holds() -> Sequence[Hold]:
        nonlocal looks
        looks += 1
        return [Hold(0, old.busy.eid, None, None)] if looks > 2 else []

    done = await old.archived(tmp_path, holds=holds)
    assert [(one.gone, one.stayed) for one in done] == [(2, 2), (3, 0), (3, 0)]
    assert [one.seq for one in await old.records(old.busy)] == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert await old.findings() == []
    assert sum(one.gone for one in await old.archived(tmp_path)) == 8
    assert await old.findings() == []


class _Killed(BaseException):
    """The process is gone here: nothing of it runs any more, its session ends."""


@pytest.mark.parametrize(
    ("point", "times"),
    [("chosen", 1), ("file", 1), ("written", 2), ("batch", 1), ("batch", 3), ("deleted", 1)],
)
async def test_a_run_killed_anywhere_is_finished_by_the_next_and_loses_nothing(
    old: Old, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, times: int
) -> None:
    still = times

    def hit(name: str) -> None:
        nonlocal still
        still -= name == f"archive.{point}"
        if not still:
            raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(faults, "hit", hit)
        with pytest.raises(_Killed):
            await old.archived(tmp_path)
    assert await old.findings() == []
    assert (await old.post(deduct(old.other, 10 * YUAN, "b0-d"))).existed
    await old.archived(tmp_path)
    assert await old.left() == 19 - ALL
    assert await old.findings() == []
    assert await old.proved(tmp_path) == (ALL, [])
    assert (await old.post(deduct(old.other, 10 * YUAN, "b0-d"))).existed


async def test_postings_and_proofs_beside_a_run_repeat_nothing_and_find_nothing(
    old: Old, tmp_path: Path
) -> None:
    async def post() -> None:
        for turn in range(15):
            for day in range(DAYS):
                assert (await old.post(deduct(old.busy, 10 * YUAN, f"a{day}-d"))).existed
            await old.post(posting(old.other, YUAN, f"new{turn}"))

    async def prove_it() -> None:
        for _ in range(8):
            assert await old.findings() == []
            assert await old.whole() == []

    await asyncio.gather(old.archived(tmp_path, batch_rows=1), post(), prove_it())
    assert await old.left() == 19 - ALL + 15
    assert await old.findings() == []
    assert await old.proved(tmp_path) == (ALL, [])


async def test_what_was_changed_in_the_archive_or_beside_it_is_found(
    old: Old, tmp_path: Path
) -> None:
    await old.archived(tmp_path)
    for change, back, what in (
        (
            "UPDATE account_archived SET balance_micros = balance_micros + 10",
            "UPDATE account_archived SET balance_micros = balance_micros - 10",
            "its records do not begin where its archive ends",
        ),
        (
            "UPDATE account_archived_record SET trade_no = 'forged' WHERE trade_no = 'a0'",
            "UPDATE account_archived_record SET trade_no = 'a0' WHERE trade_no = 'forged'",
            "what is kept of records that have left is not what their files hold",
        ),
    ):
        await old.owner(change)
        assert what in (await old.proved(tmp_path))[1]
        await old.owner(back)
        assert await old.proved(tmp_path) == (ALL, [])
    # A front cut off without an archive: the chain does not begin where it should.
    await old.owner(
        "UPDATE account_archived SET seq = seq - 1"
        " WHERE account_id = (SELECT min(account_id) FROM account_archived)"
    )
    assert len(await old.findings()) == 1
    (file, *_) = sorted((tmp_path / "pay" / "account_record").glob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ArchiveFailed, match="is not the file"):
        await old.proved(tmp_path)


async def test_a_database_that_differs_from_the_file_deletes_nothing(
    old: Old, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hit(name: str) -> None:
        if name == "archive.written":
            raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(faults, "hit", hit)
        with pytest.raises(_Killed):
            await old.archived(tmp_path)
    await old.owner("UPDATE account_record SET memo = 'x' WHERE trade_no = 'a0'")
    with pytest.raises(ArchiveFailed, match="other rows"):
        await old.archived(tmp_path)
    kept = await old.owner("SELECT 1 FROM account_record WHERE trade_no = 'a0'")
    assert len(kept) == 1


async def test_the_service_cannot_add_to_what_is_kept_of_records_that_have_left(old: Old) -> None:
    for table in ("ledger_archived_lot", "account_archived", "account_archived_record"):
        async with old.process.app.db.connect() as db:
            may = await db.execute(
                text(f"SELECT has_table_privilege('{table}', 'INSERT, UPDATE, DELETE')")
            )
            assert may.scalar_one() is False


async def test_commands_archive_what_the_books_have_and_prove_it(
    old: Old,
    new_database: Callable[[str], Awaitable[DatabaseUrls]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for service, urls in (
        ("PAY", old.urls),
        ("ORDER", await new_database("order")),
        ("FINANCE", await new_database("finance")),
    ):
        monkeypatch.setenv(f"SHOUDAN_{service}_DATABASE_URL", urls[0])
        monkeypatch.setenv(f"SHOUDAN_{service}_OWNER_DATABASE_URL", urls[1])
    keys = old.process.settings.ledger_keys
    monkeypatch.setenv("SHOUDAN_PAY_LEDGER_KEYS", keys.reveal())

    async def run(*words: str) -> Any:
        return await asyncio.to_thread(CliRunner().invoke, collected(), list(words))

    # Nothing is older than ninety days, so nothing is judged.
    done = await run("db", "archive-ended", "pay", str(tmp_path), "--keep-days", "90", "--yes")
    assert (done.exit_code, "0 of account_record may go" in done.output) == (0, True), done.output
    await old.archived(tmp_path)
    proved = await run("ledger", "prove-archive", str(tmp_path))
    assert (proved.exit_code, f"{ALL} archived records, 0 findings" in proved.output) == (0, True)
    await old.owner("DELETE FROM account_archived_record WHERE trade_no = 'a0'")
    proved = await run("ledger", "prove-archive", str(tmp_path))
    assert (proved.exit_code, "is not what their files hold" in proved.output) == (1, True)
    monkeypatch.setenv("SHOUDAN_FINANCE_OWNER_DATABASE_URL", old.urls.owner)
    monkeypatch.setenv("SHOUDAN_FINANCE_DATABASE_URL", old.urls.service)
    refused = await run("db", "ended", "pay", "--keep-days", "90")
    assert refused.exit_code == 1
    assert re.search("what the books have cannot be read", refused.output), refused.output
