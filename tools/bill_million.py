"""How long a bill of many rows takes, and how much memory: a ledger is filled, its day closed, the bill made.

    .venv/bin/python tools/bill_million.py [ROWS]

By hand, on a machine with nothing else to do; ROWS is a million when not given, filled in some minutes.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from grpc import aio

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan.pay.v1 import ledger_service_pb2_grpc as stubs
from shoudan_cli.bench_parts import migrate
from shoudan_kit.embedded import Postgres
from shoudan_kit.service import Process
from shoudan_pay.app import SERVICE
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger import closing
from shoudan_pay.ledger.days import day_of
from shoudan_pay.ledger.store import days as store
from tests.pay.ledger.harness import YUAN, LedgerHarness, deduct, settings

ROWS: Final = 1_000_000
AT_ONCE: Final = 4
IN_CALL: Final = 1000


async def fill(harness: LedgerHarness, rows: int) -> pb.AccountKey:
    """An account with so many records and one more."""
    key = await harness.account(rows * YUAN)
    calls = iter(range(0, rows, IN_CALL))

    async def post() -> None:
        for _ in calls:
            await harness.groups(*[[deduct(key, 10)] for _ in range(IN_CALL)])

    await asyncio.gather(*(post() for _ in range(AT_ONCE)))
    return key


def make(key: pb.AccountKey, day: date, target: str, out: str) -> tuple[float, int]:
    """Seconds, and the most memory in bytes that the command had."""
    words = ["bill", "make", key.ident, key.eid, "--day", str(day), "--out", out]
    command = [str(ROOT / ".venv/bin/shoudan"), *words, "--target", target]
    began = time.monotonic()
    child = subprocess.Popen(command)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return time.monotonic() - began, used.ru_maxrss * 1024


def size_of(folder: Path) -> int:
    """Bytes of its files."""
    return sum(path.stat().st_size for path in folder.iterdir())


async def measure(rows: int) -> None:
    """Fill, close, make; print."""
    async with await Postgres.start() as postgres:
        urls = (await postgres.provision(["pay"]))["pay"]
        environ = {
            "SHOUDAN_PAY_DATABASE_URL": urls.service,
            "SHOUDAN_PAY_OWNER_DATABASE_URL": urls.owner,
        }
        await migrate("pay", os.environ | environ, postgres.home.path)
        process: Process[PaySettings] = Process(SERVICE, settings(urls, listen_port=0))
        await process.start()
        try:
            await _measured(process, urls, rows)
        finally:
            await process.stop()


async def _measured(process: Process[PaySettings], urls: Any, rows: int) -> None:
    target = f"127.0.0.1:{process.port}"
    async with aio.insecure_channel(target) as channel:
        harness = LedgerHarness(process, stubs.LedgerServiceStub(channel), urls)
        began = time.monotonic()
        key = await fill(harness, rows)
        filled = time.monotonic()
        async with process.app.db.connect() as db:
            day = day_of(await store.now(db), timedelta())
        await closing.close(process.app, day, timedelta())
        closed = time.monotonic()
        with tempfile.TemporaryDirectory() as out:
            seconds, peak = await asyncio.to_thread(make, key, day, target, out)
            size = size_of(Path(out))
    print(
        f"{rows} records posted in {filled - began:.0f} s, their day closed in {closed - filled:.1f} s;"
        f" the bill, {size / 2**20:.0f} MiB, made in {seconds:.1f} s by {peak / 2**20:.0f} MiB"
    )


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS))
