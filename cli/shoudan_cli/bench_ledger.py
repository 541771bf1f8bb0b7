"""`shoudan bench ledger`: postings per second through gRPC, beside what a database does without batches."""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, cast

from grpc import aio

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan.pay.v1 import ledger_service_pb2_grpc as stubs
from shoudan_cli.bench_parts import (
    cpu_s,
    environ,
    log_of,
    migrate,
    pgbench_tps,
    preallocate_wal,
    process,
)
from shoudan_cli.clients import Failed
from shoudan_kit.embedded import Nats, Postgres
from shoudan_kit.process.child import tail
from shoudan_kit.process.polling import until
from shoudan_kit.process.ports import free_port
from shoudan_kit.rpc.client import connect

SPREAD: Final = 1000  # accounts of the spread run
IN_BATCH: Final = 100  # postings of one PostEntries
CALLERS_BATCH: Final = 8
CALLERS_UNARY: Final = 256
CALLERS_ALONE: Final = 32  # as many as pgbench gets
PGBENCH_CLIENTS: Final = 32
WARM_S: Final = 2.0  # prepared statements, caches, the first pages of the tables
WINDOW_S: Final = 1.0
START_S_MAX: Final = 60.0
ANSWER_S_MAX: Final = 5.0
IDENT: Final = "bench"

Ask = Callable[[Any, list[pb.Posting]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Side:
    """Figures of one set of accounts. Times are those of one call of 100; CPU excludes the client.

    CPU is None of a service that runs elsewhere.
    """

    batch_per_s: float
    unary_per_s: float
    cpu_us_per_posting: float | None
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What `--json` prints, with exactly these keys; the last two are None of a service elsewhere.

    `unary` are calls of one posting, as a service makes them; `person_per_s` those of a person, each of which
    leaves its row in the audit log with the posting.
    """

    hot: Side
    spread: Side
    person_per_s: float
    one_txn_per_posting_per_s: float | None
    pgbench_hot_row_tps: float | None


@dataclass(frozen=True, slots=True)
class _Run:
    per_s: float
    cpu_us: float | None
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class _Window:
    """How many calls a second of the run answered, and what CPU time that took."""

    calls: int
    cpu_s: float


async def bench_at(target: str, seconds: float, say: Callable[[str], None]) -> Figures:
    """Measure the pay service that runs at `host:port`, from outside.

    Leaves accounts of ident `bench` behind. Raises Failed when it does not answer or refuses.
    """
    channel = connect(target)
    try:
        if not await until(lambda: _answers(channel), ANSWER_S_MAX):
            raise Failed(f"no pay service answers at {target}")
        stub = stubs.LedgerServiceStub(channel)
        hot = await _side(stub, (), await _accounts(stub, 1), seconds, say, "hot")
        spread = await _side(stub, (), await _accounts(stub, SPREAD), seconds, say, "spread")
        person = await _persons(stub, seconds, say)
    finally:
        await channel.close()
    return Figures(hot, spread, person, None, None)


async def bench(seconds: float, say: Callable[[str], None]) -> Figures:
    """Start PostgreSQL, NATS and pay as in production, measure for `seconds` each, stop them.

    Raises Failed when a service does not start or the ledger is not whole afterwards.
    """
    async with await Postgres.start() as postgres, await Nats.start() as nats:
        urls = (await postgres.provision(["pay"]))["pay"]
        home = postgres.home.path
        env = environ("pay", urls, nats.url)
        await migrate("pay", env, home)
        await preallocate_wal(postgres)
        async with _pay(env, home) as (stub, pid):
            roots = [pid, postgres.pid, nats.pid]
            hot = await _side(stub, roots, await _accounts(stub, 1), seconds, say, "hot")
            wide = await _accounts(stub, SPREAD)
            spread = await _side(stub, roots, wide, seconds, say, "spread")
            person = await _persons(stub, seconds, say)
            await _verified(stub, say)
        alone = env | {
            "SHOUDAN_PAY_LEDGER_BATCH_MAX": "1",
            "SHOUDAN_PAY_LEDGER_IN_FLIGHT_MAX": "8",
        }
        async with _pay(alone, home) as (stub, pid):
            keys = await _accounts(stub, 1)
            single = await _run(stub, [pid], keys, seconds, _ask_many, CALLERS_ALONE, 1)
            say(f"one transaction per posting: {single.per_s:,.0f}/s")
        tps = await _pgbench(postgres, seconds)
        say(f"pgbench, one hot row: {tps:,.0f}/s")
    return Figures(hot, spread, person, single.per_s, tps)


def as_dict(figures: Figures) -> dict[str, Any]:
    """The figures rounded for reading."""

    def rounded(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: rounded(v) for k, v in cast("dict[str, Any]", value).items()}
        return None if value is None else round(value, 1)

    return rounded(asdict(figures))


async def _side(
    stub: Any,
    roots: Sequence[int],
    keys: Sequence[pb.AccountKey],
    seconds: float,
    say: Callable[[str], None],
    name: str,
) -> Side:
    batch = await _run(stub, roots, keys, seconds, _ask_many, CALLERS_BATCH)
    unary = await _run(stub, roots, keys, seconds, _ask_many, CALLERS_UNARY, 1)
    say(
        f"{name}: {batch.per_s:,.0f}/s in batches ({_cpu(batch)}p50 {batch.p50_ms:.1f} ms, "
        f"p99 {batch.p99_ms:.1f} ms), {unary.per_s:,.0f}/s unary ({_cpu(unary)}"
        f"p50 {unary.p50_ms:.1f} ms); load average {os.getloadavg()[0]:.1f}"
    )
    return Side(batch.per_s, unary.per_s, batch.cpu_us, batch.p50_ms, batch.p99_ms)


async def _persons(stub: Any, seconds: float, say: Callable[[str], None]) -> float:
    """Postings of persons a second; last, for their rows in the audit log are sealed for a while after."""
    run = await _run(stub, (), await _accounts(stub, 1), seconds, _ask_as_person, CALLERS_UNARY, 1)
    say(f"by persons: {run.per_s:,.0f}/s, each with its row in the audit log")
    return run.per_s


def _cpu(run: _Run) -> str:
    return "" if run.cpu_us is None else f"{run.cpu_us:.1f} us CPU each, "


async def _ask_many(stub: Any, postings: list[pb.Posting]) -> None:
    groups = [pb.PostEntriesRequest.Group(postings=[one]) for one in postings]
    answer = await stub.PostEntries(pb.PostEntriesRequest(groups=groups))
    refused = [one.refusal for one in answer.results if one.HasField("refusal")]
    if refused:
        raise Failed(f"a posting was refused: {refused[0].message}")


async def _ask_as_person(stub: Any, postings: list[pb.Posting]) -> None:
    for one in postings:
        await stub.Post(pb.PostRequest(posting=one))


async def _run(
    stub: Any,
    roots: Sequence[int],
    keys: Sequence[pb.AccountKey],
    seconds: float,
    ask: Ask,
    callers: int,
    size: int = IN_BATCH,
) -> _Run:
    """Callers that each wait for their answer before they ask again, watched in windows of a second.

    The medians of the windows count: another program's busy moment spoils a window, not the figure.
    """
    source = _postings(keys)
    waits: list[float] = []
    running = True

    async def caller() -> None:
        while running:
            asked = time.perf_counter()
            await ask(stub, list(itertools.islice(source, size)))
            waits.append((time.perf_counter() - asked) * 1000)

    asking = asyncio.gather(*[caller() for _ in range(callers)])
    try:
        await _pause(asking, WARM_S)
        waits.clear()
        windows = [await _window(asking, waits, roots) for _ in range(_windows(seconds))]
    finally:
        running = False
    counted = sorted(waits)
    await asking
    if not counted:
        raise Failed("no call was answered in time")
    per_s = median(one.calls for one in windows) * size / WINDOW_S
    busy = [one for one in windows if one.calls]
    cpu_us = median(one.cpu_s * 1e6 / (one.calls * size) for one in busy) if roots else None
    return _Run(per_s, cpu_us, counted[len(counted) // 2], counted[len(counted) * 99 // 100])


def _windows(seconds: float) -> int:
    return max(1, round(seconds / WINDOW_S))


async def _window(asking: asyncio.Future[Any], waits: list[float], roots: Sequence[int]) -> _Window:
    began, calls, cpu = time.perf_counter(), len(waits), cpu_s(roots)
    await _pause(asking, WINDOW_S)
    # What was asked of the loop and what it gave differ on a busy machine.
    stretch = WINDOW_S / (time.perf_counter() - began)
    return _Window(round((len(waits) - calls) * stretch), (cpu_s(roots) - cpu) * stretch)


async def _pause(asking: asyncio.Future[Any], seconds: float) -> None:
    """Let the callers go on; a caller that failed ends the run."""
    await asyncio.wait({asking}, timeout=seconds)
    if asking.done():
        await asking
        raise Failed("the callers ended early")


def _postings(keys: Sequence[pb.AccountKey]) -> Any:
    """Spendings without end, account after account, each with a number of its own."""
    prefix = secrets.token_hex(4)
    for number in itertools.count():
        yield pb.Posting(
            account=keys[number % len(keys)],
            trade_no=f"{prefix}{number:012d}",
            change_type=pb.CHANGE_TYPE_DEDUCT,
            trade_type=pb.TRADE_TYPE_TRADE,
            amount_micros=-10_000,
        )


async def _accounts(stub: Any, count: int) -> list[pb.AccountKey]:
    """New accounts with credit enough for the run."""
    prefix = secrets.token_hex(4)
    keys = [
        pb.AccountKey(ident=IDENT, groups="down_channel", eid=f"{prefix}{n}") for n in range(count)
    ]
    item = pb.CreateAccountsRequest.Item
    items = [item(key=key, name="bench", credit_micros=10**15) for key in keys]
    await stub.CreateAccounts(pb.CreateAccountsRequest(items=items))
    return keys


async def _verified(stub: Any, say: Callable[[str], None]) -> None:
    """A figure of a ledger that does not add up is worth nothing."""
    began = time.perf_counter()
    answers: list[Any] = [one async for one in stub.Verify(pb.VerifyRequest())]
    last = answers[-1]
    if last.findings or not last.done:
        raise Failed(f"the ledger does not add up: {last.findings}")
    say(f"verified {last.records:,} records in {time.perf_counter() - began:.1f} s")


# ---------------------------------------------------------------- processes


@asynccontextmanager
async def _pay(env: Mapping[str, str], home: Path) -> AsyncGenerator[tuple[Any, int]]:
    """One pay process; its stub and pid."""
    port = free_port()
    served = {**env, "SHOUDAN_PAY_LISTEN_PORT": str(port)}
    async with process("pay", served, home, "serve", "pay") as pid:
        channel = connect(f"127.0.0.1:{port}")
        try:
            if not await until(lambda: _answers(channel), START_S_MAX):
                raise Failed(f"pay did not start:\n{tail(log_of('pay', home))}")
            yield stubs.LedgerServiceStub(channel), pid
        finally:
            await channel.close()


async def _answers(channel: aio.Channel) -> bool:
    try:
        await stubs.LedgerServiceStub(channel).ListAccounts(pb.ListAccountsRequest(), timeout=2)
    except aio.AioRpcError:
        return False
    return True


async def _pgbench(postgres: Postgres, seconds: float) -> float:
    """Transactions per second of `UPDATE one row`, prepared: what a hot account costs without batches."""
    home = postgres.home.path
    script = home / "hot_row.sql"
    script.write_text("UPDATE bench_hot SET n = n + 1 WHERE id = 1;\n")
    async with postgres.admin("shoudan_pay") as db:
        await db.execute(
            "CREATE TABLE bench_hot (id int PRIMARY KEY, n bigint) WITH (fillfactor=50)"
        )
        await db.execute("INSERT INTO bench_hot VALUES (1, 0)")
    words = f"-n -M prepared -c {PGBENCH_CLIENTS} -j 2 -T {max(1, round(seconds))}"
    return await pgbench_tps(postgres, "shoudan_pay", words, "-f", str(script))
