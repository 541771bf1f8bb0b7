"""Promises of `shoudan keys rotate`: everything sealed comes under the first key, even when it is killed."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text

from shoudan_kit.config import Secret
from shoudan_kit.db.pool import Database
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.secrets.sealed_columns import key_id
from tests.erp_ingest.conftest import open_desk
from tests.erp_ingest.harness import APP_KEY, REFUND, ErpHarness, body, refund, trade
from tests.poll import eventually
from tests.stored import Stored

PHONE = "13912345678"
K1, K2 = (f"{name}:{base64.b64encode(name.encode() * 16).decode()}" for name in ("k1", "k2"))
# Every column with sealed bytes, and how often they stand in history.
COLUMNS = ("push", "trade", "payment", "trade_line", "refund", "refund_line", "credential")


@dataclass
class Told:
    """What the command said."""

    exit_code: int
    stdout: str
    stderr: str


async def started(harness: ErpHarness, *words: str) -> asyncio.subprocess.Process:
    code = "from shoudan_cli.keys import app; app()"
    environ = {**os.environ, "SHOUDAN_ERP_INGEST_TARGET": f"127.0.0.1:{harness.process.port}"}
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, "rotate", "--service", "erp_ingest", *words),
        stdout=pipe,
        stderr=pipe,
        env=environ,
    )


async def rotate(harness: ErpHarness, *words: str) -> Told:
    process = await started(harness, *words)
    out, err = await process.communicate()
    return Told(process.returncode or 0, out.decode(), err.decode())


async def keys_of(urls: DatabaseUrls) -> dict[str, set[str]]:
    """By table, the keys its sealed values are under; those of history are of its parts."""
    found: dict[str, set[str]] = {}
    owner = Database(urls.owner)
    async with owner.connect() as db:
        for table in COLUMNS:
            rows = await db.execute(text(f"SELECT sealed FROM {table} WHERE sealed IS NOT NULL"))
            found[table] = {key_id(bytes(row[0])) for row in rows}
        parts = text(
            "SELECT part->>'sealed' FROM history, jsonb_path_query(snapshot, '$.**') AS part"
            " WHERE jsonb_typeof(part) = 'object' AND part->>'sealed' IS NOT NULL"
        )
        found["history"] = {key_id(bytes.fromhex(row[0][2:])) for row in await db.execute(parts)}
    await owner.dispose()
    return found


def with_parts(whole: Any) -> Any:
    """A trade whose payments and items have something that is sealed, too."""
    for name in ("payment_lists", "orders"):
        parts = whole["data"][name]
        for part in parts if isinstance(parts, list) else [parts]:
            part["undocumented"] = "kept"
    return whole


async def filled(harness: ErpHarness) -> None:
    """Documents of both kinds, one changed so that history keeps its version, and a credential."""
    newer = {"modified": "2026-11-21 12:00:00", "receiver_mobile": PHONE}
    for number in range(6):
        await harness.push(body(with_parts(trade(tid=f"T{number}", receiver_mobile=PHONE))))
    await harness.push(body(refund(refund_no="R1")), kind=REFUND)
    await harness.push(body(with_parts(trade(tid="T1", buyer_message="changed", **newer))))
    await Stored(harness.process.port).issue("erp", APP_KEY)


@pytest.fixture
async def before(
    new_database: Callable[[str], Awaitable[DatabaseUrls]],
) -> DatabaseUrls:
    """A database whose rows are sealed under k1."""
    urls = await new_database("erp_ingest")
    async with open_desk(urls, personal_keys=Secret(K1)) as harness:
        await filled(harness)
    found = await keys_of(urls)
    assert {table for table, keys in found.items() if keys == {"k1"}} >= {
        "push", "trade", "payment", "trade_line", "refund", "history", "credential",
    }  # fmt: skip
    return urls


def all_under(found: dict[str, set[str]], key: str) -> bool:
    return all(keys <= {key} for keys in found.values())


async def test_everything_comes_under_the_first_key_and_the_old_one_may_go(
    before: DatabaseUrls,
) -> None:
    async with open_desk(before, personal_keys=Secret(f"{K2},{K1}")) as harness:
        counted = await rotate(harness, "--dry-run")
        assert counted.exit_code == 0, counted.stderr
        assert "7 under k1" in counted.stdout or "8 under k1" in counted.stdout
        assert all_under(await keys_of(before), "k1")
        done = await rotate(harness, "--rows", "2")
        assert done.exit_code == 0, done.stderr
        again = await rotate(harness)
        assert "under k1" not in again.stdout
        assert " 0 sealed anew" in again.stdout
    assert all_under(await keys_of(before), "k2")
    async with open_desk(before, personal_keys=Secret(K2)) as harness:
        assert await phones(harness) == {PHONE}
        assert harness.process.running.context.credentials.unreadable == frozenset()
        assert await versions(harness)


async def test_a_rotation_that_was_killed_is_finished_by_the_next(before: DatabaseUrls) -> None:
    async with open_desk(before, personal_keys=Secret(f"{K2},{K1}")) as harness:
        process = await started(harness, "--rows", "1")

        async def half_way() -> bool:
            return "k2" in set().union(*(await keys_of(before)).values())

        await eventually(half_way, 30)
        process.send_signal(signal.SIGKILL)
        await process.communicate()
        assert await phones(harness) == {PHONE}  # both keys open meanwhile
        assert (await rotate(harness)).exit_code == 0
    assert all_under(await keys_of(before), "k2")


async def test_rows_whose_key_is_lost_are_named_and_the_rest_is_done(before: DatabaseUrls) -> None:
    async with open_desk(before, personal_keys=Secret(K2)) as harness:
        (pushed,) = await harness.push(body(trade(tid="new", receiver_mobile=PHONE)))
        told = await rotate(harness)
    assert told.exit_code == 1
    assert "under k1 (not in the ring)" in told.stdout
    assert "cannot be opened: push.sealed [" in told.stdout
    assert "cannot be opened: history.snapshot [" in told.stdout
    assert str(pushed.push_id) not in told.stdout
    assert PHONE not in told.stdout + told.stderr


async def phones(harness: ErpHarness) -> set[str]:
    """The receivers' phones of all trades, opened."""
    rows = await _found(harness)
    return {one.document.head.receiver_mobile for one in rows}


async def _found(harness: ErpHarness) -> list[Any]:
    context = harness.process.running.context
    async with harness.process.app.db.connect() as db:
        ids = [row[0] for row in await db.execute(text("SELECT document_id FROM trade"))]
        from shoudan_erp_ingest.store import finding

        return [one for i in ids if (one := await finding.by_id(db, context.ring, 1, i))]


async def versions(harness: ErpHarness) -> int:
    """How many versions history has."""
    async with harness.process.app.db.connect() as db:
        return (await db.execute(text("SELECT count(*) FROM history"))).scalar_one()
