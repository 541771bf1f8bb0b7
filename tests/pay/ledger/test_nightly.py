"""Promises of the nightly proof: it comes every night, is told by metric and event, follows its setting."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from grpc import aio
from sqlalchemy import text

from shoudan.pay.v1 import events_pb2
from shoudan.pay.v1 import ledger_service_pb2_grpc as stubs
from shoudan_kit import metrics
from shoudan_kit.db.pool import Database
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.service import Process
from shoudan_pay.app import SERVICE
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger import events
from shoudan_pay.ledger.nightly import wait_s
from tests.pay.ledger.harness import YUAN, LedgerHarness, settings
from tests.poll import eventually

DUE = "UPDATE task SET next_execute_time = now() WHERE name = 'ledger.prove'"
WAITING = """SELECT order_no, next_execute_time - now() > interval '1 minute' AS later
    FROM task WHERE name = 'ledger.prove' AND status = 20 ORDER BY order_no"""


@pytest.fixture
async def urls(new_database: Callable[[str], Awaitable[DatabaseUrls]]) -> DatabaseUrls:
    return await new_database("pay")


@pytest.fixture
async def owner(urls: DatabaseUrls) -> AsyncIterator[Database]:
    database = Database(urls.owner)
    yield database
    await database.dispose()


async def running(urls: DatabaseUrls, at: str, folder: Path | None = None) -> Process[PaySettings]:
    given = {"verify_at": at, "task_scan_s": 0.1, "listen_port": 0}
    process: Process[PaySettings] = Process(
        SERVICE, settings(urls, ledger_statements_dir=folder, **given)
    )
    await process.start()
    return process


async def rows(database: Database, sql: str, **binds: object) -> list[Any]:
    async with database.begin() as db:
        return list((await db.execute(text(sql), binds)).all())


async def planned(owner: Database) -> list[tuple[str, bool]]:
    return [tuple(row) for row in await rows(owner, WAITING)]


def told(value: float) -> bool:
    return f'shoudan_ledger_invariant_ok{{scope="all"}} {value}' in metrics.exposition().decode()


@pytest.mark.parametrize(
    ("now", "at", "seconds"),
    [
        ("2026-11-20T19:29:00", "03:30", 60),
        ("2026-11-20T19:30:00", "03:30", 86_400),
        ("2026-11-20T19:30:01", "03:30", 86_399),
        ("2026-12-31T15:59:59", "00:00", 1),
    ],
)
def test_the_next_time_is_counted_in_beijing(now: str, at: str, seconds: int) -> None:
    assert wait_s(datetime.fromisoformat(now).replace(tzinfo=UTC), at) == seconds


async def test_every_night_the_ledger_is_proved_and_damage_is_told(
    urls: DatabaseUrls, owner: Database
) -> None:
    process = await running(urls, "03:30")
    try:
        async with aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
            harness = LedgerHarness(process, stubs.LedgerServiceStub(channel), urls)
            key = await harness.account(100 * YUAN)
            (record,) = await harness.records(key)
        await eventually(lambda: _is(planned(owner), [("03:30", True)]), 10)
        await rows(owner, f"{DUE} RETURNING 1")
        await eventually(lambda: told(1.0), 10)
        await eventually(lambda: _is(planned(owner), [("03:30", True)]), 10)
        await rows(owner, "UPDATE account_record SET memo = 'other' RETURNING 1")
        await rows(owner, f"{DUE} RETURNING 1")
        await eventually(lambda: told(0.0), 10)
        await eventually(lambda: _is(planned(owner), [("03:30", True)]), 10)
    finally:
        await process.stop()
    sql = "SELECT body, text FROM event WHERE subject = :subject"
    (found,) = await rows(owner, sql, subject=events.BROKEN)
    (finding,) = events_pb2.LedgerBroken.FromString(found.body).findings
    assert (finding.account_id, finding.record_id) == (record.account_id, record.record_id)
    assert found.text.startswith("1 found; account ")


async def test_another_time_of_day_takes_over_and_none_ends_it(
    urls: DatabaseUrls, owner: Database
) -> None:
    for at in ("03:30", "04:45"):
        process = await running(urls, at)
        await eventually(lambda at=at: _has(planned(owner), (at, True)), 10)
        await process.stop()
    assert [time for time, _ in await planned(owner)] == ["03:30", "04:45"]
    process = await running(urls, "04:45")
    try:
        await rows(owner, f"{DUE} AND order_no = '03:30' RETURNING 1")
        await eventually(lambda: _is(planned(owner), [("04:45", True)]), 10)
    finally:
        await process.stop()
    process = await running(urls, "")
    try:
        await rows(owner, f"{DUE} RETURNING 1")
        await eventually(lambda: _is(planned(owner), []), 10)
    finally:
        await process.stop()


async def test_every_night_the_statement_is_signed_after_the_proof_and_only_if_it_holds(
    urls: DatabaseUrls, owner: Database, tmp_path: Path
) -> None:
    process = await running(urls, "03:30", tmp_path)
    try:
        async with aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
            harness = LedgerHarness(process, stubs.LedgerServiceStub(channel), urls)
            await harness.account(100 * YUAN)
        await eventually(lambda: _is(planned(owner), [("03:30", True)]), 10)
        change = "UPDATE account_record SET memo = :memo RETURNING 1"
        await rows(owner, change, memo="other")
        await rows(owner, f"{DUE} RETURNING 1")
        await eventually(lambda: _has(subjects(owner), events.BROKEN), 10)
        await eventually(lambda: _is(planned(owner), [("03:30", True)]), 10)
        assert count(tmp_path) == 0
        await rows(owner, change, memo="")
        await rows(owner, f"{DUE} RETURNING 1")
        await eventually(lambda: _has(subjects(owner), events.SEALED), 10)
        await eventually(lambda: _is(planned(owner), [("03:30", True)]), 10)
        sealed = 'shoudan_ledger_sealed_timestamp_seconds{scope="all"} 1'
        assert sealed in metrics.exposition().decode()
        assert count(tmp_path) == 1
    finally:
        await process.stop()


async def test_a_folder_that_cannot_be_written_is_tried_again_soon(
    urls: DatabaseUrls, owner: Database, tmp_path: Path
) -> None:
    file = tmp_path / "no folder"
    file.write_text("")
    process = await running(urls, "03:30", file)
    try:
        await eventually(lambda: _is(planned(owner), [("03:30", True)]), 10)
        await rows(owner, f"{DUE} RETURNING 1")
        soon = """SELECT 1 FROM task WHERE name = 'ledger.prove' AND next_execute_time
            BETWEEN now() + interval '9 minutes' AND now() + interval '11 minutes'"""
        await eventually(lambda: rows(owner, soon), 10)
    finally:
        await process.stop()


def count(folder: Path) -> int:
    return len(list(folder.glob("statement-*")))


async def subjects(owner: Database) -> list[str]:
    return [row[0] for row in await rows(owner, "SELECT subject FROM event")]


async def _is(got: Awaitable[Any], wanted: Any) -> bool:
    return await got == wanted


async def _has(got: Awaitable[list[Any]], wanted: Any) -> bool:
    return wanted in await got
