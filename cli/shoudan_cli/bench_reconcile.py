"""`shoudan bench reconcile`: a statement is imported and matched, and every difference must be found."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import asyncpg
from grpc import aio

from shoudan.finance.v1 import reconcile_service_pb2 as pb
from shoudan.finance.v1 import reconcile_service_pb2_grpc as stubs
from shoudan.finance.v1 import statement_service_pb2 as statement_pb
from shoudan.finance.v1 import statement_service_pb2_grpc as statement_stubs
from shoudan_cli.bench_parts import (
    cpu_s,
    environ,
    log_of,
    migrate,
    peak_mib,
    preallocate_wal,
    process,
)
from shoudan_cli.clients import Failed
from shoudan_kit.embedded import Postgres
from shoudan_kit.ids import first_of
from shoudan_kit.process.child import tail
from shoudan_kit.process.polling import until
from shoudan_kit.process.ports import free_port
from shoudan_kit.rpc.client import connect

HOST: Final = "127.0.0.1"
SOURCE: Final = "bench"
START_S_MAX: Final = 60.0
RUN_S_MAX: Final = 1_800.0
CALL_S: Final = 900.0
PART_BYTES: Final = 2**20
HEAD: Final = "商户单号,平台单号,结算单号,充值账号,面值,金额,时间,类型,状态"
FEN: Final = 9_800
# Every so many trades differ: of these rates both sides know.
WRONG: Final = 1_000
MISSING: Final = 997
EXTRA: Final = 1_013
_TRADES: Final = """
INSERT INTO trade (day_no, number, kind, order_id, down_channel_no, up_channel_no, line_id, their_no,
    product_no, carrier_no, invoice_type, face_micros, num, result, done_face_micros, amount_micros,
    commission_micros, service_micros, fee_micros, end_time)
SELECT $1, n, 3, n, 'down', $2, 1, 'S' || n, '', 'C', 1, 100000000, 1, 0, 100000000, 98000000, 0, 0, 0,
    CAST($3 AS timestamptz) + n * interval '1 millisecond'
FROM generate_series(1, CAST($4 AS bigint)) n
"""
_DAY: Final = """
INSERT INTO trade_day (day, status, trades, page_token, apart, what, create_time, pays)
SELECT CAST($1 AS date) + n, 20, 0, '', 0, '', now(), 0 FROM generate_series(-1, 4) n
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """What `--json` prints, with exactly these keys. Memory is the most that finance had."""

    lines: int
    import_s: float
    import_cpu_s: float
    run_s: float
    run_cpu_s: float  # of both: finance and PostgreSQL
    finance_mib_max: int
    found_equals_made: bool


async def bench(lines: int, say: Callable[[str], None]) -> Figures:
    """Start PostgreSQL and finance as in production, import a statement of so many lines, match it.

    Raises Failed when finance does not start or the run does not end.
    """
    async with await Postgres.start() as postgres:
        urls = (await postgres.provision(["finance"]))["finance"]
        home, port = postgres.home.path, free_port()
        env = environ("finance", urls, "") | {
            "SHOUDAN_FINANCE_LISTEN_PORT": str(port),
            "SHOUDAN_FINANCE_STATEMENT_BYTES_MAX": str(2**30),
            "SHOUDAN_FINANCE_STATEMENT_ROWS_MAX": "10000000",
        }
        await migrate("finance", env, home)
        await preallocate_wal(postgres)
        day = (datetime.now(UTC) - timedelta(days=7)).date()
        await _trades(urls.owner, day, lines)
        say(f"{lines:,} trades of ours")
        async with (
            process("finance", env, home, "serve", "finance") as finance,
            _channel(port) as channel,
        ):
            if not await until(lambda: _ready(channel), START_S_MAX):
                raise Failed(f"not ready:\n{tail(log_of('finance', home))}")
            roots = [finance, postgres.pid]
            before = cpu_s(roots)
            import_s = await _import(channel, day, lines)
            imported, moment = cpu_s(roots), datetime.now(UTC)
            say(f"imported in {import_s:.1f} s, {imported - before:.1f} s of CPU")
            run_s, run = await _matched(channel, moment)
            matched = cpu_s(roots)
            say(f"matched in {run_s:.1f} s, {matched - imported:.1f} s of CPU")
            say(f"{run.matched:,} of {lines:,} are matched")
            peak = peak_mib(finance)
    equal = _expected(lines) == (run.matched, run.longs, run.shorts, run.amounts)
    return Figures(
        lines,
        round(import_s, 1),
        round(imported - before, 1),
        round(run_s, 1),
        round(matched - imported, 1),
        peak,
        equal,
    )


def _expected(lines: int) -> tuple[int, int, int, int]:
    missing = lines // MISSING
    wrong = sum(1 for one in range(WRONG, lines + 1, WRONG) if one % MISSING)
    return lines - missing - wrong, missing, lines // EXTRA, wrong


async def _trades(owner: str, day: date, lines: int) -> None:
    db = await asyncpg.connect(owner.replace("+asyncpg", ""))
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    try:
        await db.execute(_TRADES, first_of(midnight), SOURCE, midnight, lines)
        await db.execute(_DAY, day)
        await db.execute("ANALYZE trade")
    finally:
        await db.close()


def _rows(day: date, lines: int) -> Iterator[str]:
    """The statement, row by row, with its footer."""
    yield HEAD
    total = rows = 0
    for number in range(1, lines + 1):
        if number % EXTRA == 0:
            yield f",X{number},,,,98.00,{day} 08:00:00,发货,成功"
            total, rows = total + FEN, rows + 1
        if number % MISSING == 0:
            continue
        fen = FEN + (number % WRONG == 0)
        yield f",S{number},,,,{fen // 100}.{fen % 100:02d},{day} 08:00:00,发货,成功"
        total, rows = total + fen, rows + 1
    yield f"合计,{rows},{total // 100}.{total % 100:02d}"


def _parts(day: date, lines: int) -> Iterator[bytes]:
    waiting = bytearray()
    for row in _rows(day, lines):
        waiting += row.encode() + b"\n"
        while len(waiting) >= PART_BYTES:
            yield bytes(waiting[:PART_BYTES])
            del waiting[:PART_BYTES]
    if waiting:
        yield bytes(waiting)


async def _import(channel: aio.Channel, day: date, lines: int) -> float:
    """Import the statement; seconds of the import alone, without its parts."""
    stub: Any = statement_stubs.StatementServiceStub(channel)
    sha256, parts = hashlib.sha256(), 0
    for part in _parts(day, lines):
        sha256.update(part)
        parts += 1
    for part_no, part in enumerate(_parts(day, lines)):
        given = statement_pb.StorePartRequest(sha256=sha256.digest(), part_no=part_no, data=part)
        await stub.StorePart(given, timeout=CALL_S)
    request = statement_pb.ImportStatementRequest(
        sha256=sha256.digest(),
        parts=parts,
        template="plain-csv",
        source=SOURCE,
        file_name="bench.csv",
    )
    began = time.perf_counter()
    await stub.ImportStatement(request, timeout=CALL_S)
    return time.perf_counter() - began


async def _matched(channel: aio.Channel, imported: datetime) -> tuple[float, pb.Run]:
    """Wait for the run that the import asked for; its seconds from then on, our side's copy included."""
    stub: Any = stubs.ReconcileServiceStub(channel)
    found: list[pb.Run] = []

    async def ended() -> bool:
        page = await stub.ListRuns(pb.ListRunsRequest(source=SOURCE), timeout=CALL_S)
        found[:] = page.runs[-1:]
        return bool(found) and found[0].status == pb.RUN_STATUS_DONE

    if not await until(ended, RUN_S_MAX):
        raise Failed("the run did not end")
    (run,) = found
    took = run.end_time.ToDatetime(UTC) - imported
    return took.total_seconds(), run


@asynccontextmanager
async def _channel(port: int) -> AsyncGenerator[aio.Channel]:
    channel = connect(f"{HOST}:{port}")
    try:
        yield channel
    finally:
        await channel.close()


async def _ready(channel: aio.Channel) -> bool:
    stub: Any = stubs.ReconcileServiceStub(channel)
    try:
        await stub.ListRuns(pb.ListRunsRequest(), timeout=2)
    except aio.AioRpcError:
        return False
    return True
