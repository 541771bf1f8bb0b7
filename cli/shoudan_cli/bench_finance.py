"""`shoudan bench finance`: days become facts, facts bills, a statement is matched: how fast."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from grpc import aio

from shoudan.finance.v1 import bill_service_pb2 as bill_pb
from shoudan.finance.v1 import bill_service_pb2_grpc as bill_stubs
from shoudan.finance.v1 import finance_service_pb2 as day_pb
from shoudan.finance.v1 import finance_service_pb2_grpc as day_stubs
from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan.pay.v1 import ledger_service_pb2_grpc as stubs
from shoudan_cli import bench_reconcile
from shoudan_cli.bench_parts import (
    cpu_s,
    environ,
    log_of,
    migrate,
    peak_mib,
    preallocate_wal,
    process,
)
from shoudan_cli.bench_reconcile import Figures as Statement
from shoudan_cli.clients import Failed
from shoudan_kit.clock import BEIJING
from shoudan_kit.embedded import Nats, Postgres
from shoudan_kit.process.child import tail
from shoudan_kit.process.polling import until
from shoudan_kit.process.ports import free_port
from shoudan_kit.rpc.client import connect

IDENT: Final = "bench"
IN_CALL: Final = 1000
CALLERS: Final = 4
START_S_MAX: Final = 60.0
DONE_S_MAX: Final = 1800.0
CALL_S: Final = 60.0
# By this cut what is posted is of the day before, which at the cut of midnight is over.
LATE_CUT: Final = "23:59"
NOWHERE: Final = "127.0.0.1:1"


@dataclass(frozen=True, slots=True)
class Figures:
    """What `--json` prints, with exactly these keys."""

    movements: int
    complete_s: float  # from the start of finance until the day is proved
    complete_per_s: float
    bill_s: float  # from asking until it is published
    bill_cpu_s: float  # of finance and PostgreSQL together, as all below
    bill_rows_per_s: float
    bill_bytes: int
    again_s: float  # made again beside itself
    again_same: bool  # with the same bytes
    gzip_s: float
    gzip_cpu_s: float
    gzip_bytes: int
    xlsx_s: float
    xlsx_cpu_s: float
    xlsx_bytes: int
    finance_peak_bytes: int  # the most memory that its process had
    statement: Statement


async def bench(movements: int, say: Callable[[str], None]) -> Figures:
    """Post movements of yesterday, close the day, have it copied and proved, and its bills made; then import
    a statement of as many lines and match it.

    Raises Failed when a service does not start, the bill has other rows or, made again, other bytes, or a
    difference of the statement is not found.
    """
    facts = await _bills(movements, say)
    statement = await bench_reconcile.bench(movements, say)
    if not statement.found_equals_made:
        raise Failed("the differences found are not those made")
    return Figures(**facts, statement=statement)


async def _bills(movements: int, say: Callable[[str], None]) -> dict[str, Any]:
    if f"{datetime.now(UTC).astimezone(BEIJING):%H:%M}" >= LATE_CUT:
        raise Failed("not in the last minute of Beijing's day: the movements are yesterday's")
    async with await Postgres.start() as postgres, await Nats.start() as nats:
        urls = await postgres.provision(["pay", "finance"])
        home = postgres.home.path
        env = environ("pay", urls["pay"], nats.url) | environ("finance", urls["finance"], nats.url)
        for name in ("pay", "finance"):
            await migrate(name, env, home)
        await preallocate_wal(postgres)
        late = env | {"SHOUDAN_PAY_LEDGER_DAY_CUT": LATE_CUT}
        async with _serving("pay", late, home, "--roles", "rpc") as pay:  # it closes no day
            key = await _posted(stubs.LedgerServiceStub(pay.channel), movements, say)
        closing = env | {"SHOUDAN_PAY_LEDGER_CLOSE_AFTER_S": "0"}
        async with _serving("pay", closing, home) as pay:
            own = {
                "SHOUDAN_FINANCE_PAY_TARGET": pay.target,
                "SHOUDAN_FINANCE_ORDER_TARGET": NOWHERE,
                "SHOUDAN_FINANCE_FOLLOW_S": "1",
                "SHOUDAN_FINANCE_DAILY_BILLS": "[]",
                "SHOUDAN_FINANCE_XLSX_ROWS_MAX": str(movements),
            }
            began = time.perf_counter()
            async with _serving("finance", env | own, home) as finance:
                day = await _completed(finance.channel)
                complete_s = time.perf_counter() - began
                say(f"{day.movements:,} movements copied and proved in {complete_s:.1f} s")
                bills = _Bills(finance.channel, [finance.pid, postgres.pid], key, day.day, say)
                made = await bills.figures(movements)
                peak = await asyncio.to_thread(peak_mib, finance.pid)
    say(f"finance had {peak} MiB at most")
    return {
        "movements": day.movements,
        "complete_s": round(complete_s, 2),
        "complete_per_s": round(day.movements / complete_s, 1),
        **made,
        "finance_peak_bytes": peak << 20,
    }


async def _posted(stub: Any, movements: int, say: Callable[[str], None]) -> pb.AccountKey:
    """An account that spent so many times."""
    prefix = secrets.token_hex(4)
    key = pb.AccountKey(ident=IDENT, groups="down_channel", eid=prefix)
    item = pb.CreateAccountsRequest.Item(key=key, name="bench", credit_micros=10**15)
    await stub.CreateAccounts(pb.CreateAccountsRequest(items=[item]))
    numbers = iter(range(0, movements, IN_CALL))

    async def post() -> None:
        for start in numbers:
            groups = [
                pb.PostEntriesRequest.Group(postings=[_posting(key, f"{prefix}{at:012d}")])
                for at in range(start, min(movements, start + IN_CALL))
            ]
            answer = await stub.PostEntries(pb.PostEntriesRequest(groups=groups), timeout=CALL_S)
            if any(one.HasField("refusal") for one in answer.results):
                raise Failed("a posting was refused")

    began = time.perf_counter()
    await asyncio.gather(*(post() for _ in range(CALLERS)))
    say(f"{movements:,} movements posted in {time.perf_counter() - began:.1f} s")
    return key


def _posting(key: pb.AccountKey, number: str) -> pb.Posting:
    return pb.Posting(
        account=key,
        trade_no=number,
        change_type=pb.CHANGE_TYPE_DEDUCT,
        trade_type=pb.TRADE_TYPE_TRADE,
        amount_micros=-10_000,
        about=pb.ABOUT_ORDER,
    )


async def _completed(channel: aio.Channel) -> day_pb.Day:
    """The day that has movements, when it is proved."""
    stub: Any = day_stubs.FinanceServiceStub(channel)
    found: list[day_pb.Day] = []

    async def complete() -> bool:
        days = (await stub.ListDays(day_pb.ListDaysRequest(), timeout=CALL_S)).days
        proved = [one for one in days if one.status == day_pb.DAY_STATUS_COMPLETE]
        found[:] = [one for one in proved if one.movements]
        return bool(found)

    if not await until(complete, DONE_S_MAX):
        raise Failed("the day was not complete in time")
    return found[0]


@dataclass
class _Bills:
    """The bill of one account's day, in every form."""

    channel: aio.Channel
    roots: Sequence[int]
    key: pb.AccountKey
    day: str
    say: Callable[[str], None]

    async def figures(self, movements: int) -> dict[str, Any]:
        """What each form took. Raises Failed."""
        bill, bill_s, bill_cpu_s = await self._timed("csv", movements)
        began = time.perf_counter()
        again = await _verified(self.channel, bill.bill_id)
        again_s = time.perf_counter() - began
        self.say(f"made again in {again_s:.1f} s: {'the same' if again else 'OTHER'} bytes")
        if not again:
            raise Failed("made again it has other bytes")
        packed, gzip_s, gzip_cpu_s = await self._timed("csv", movements, packed=True)
        book, xlsx_s, xlsx_cpu_s = await self._timed("xlsx", movements)
        return {
            "bill_s": bill_s,
            "bill_cpu_s": bill_cpu_s,
            "bill_rows_per_s": round(bill.rows / bill_s, 1),
            "bill_bytes": bill.bytes,
            "again_s": round(again_s, 2),
            "again_same": again,
            "gzip_s": gzip_s,
            "gzip_cpu_s": gzip_cpu_s,
            "gzip_bytes": packed.bytes,
            "xlsx_s": xlsx_s,
            "xlsx_cpu_s": xlsx_cpu_s,
            "xlsx_bytes": book.bytes,
        }

    async def _timed(
        self, form: str, movements: int, *, packed: bool = False
    ) -> tuple[bill_pb.Bill, float, float]:
        request = bill_pb.MakeBillRequest(
            kind="fund",
            ident=self.key.ident,
            eid=self.key.eid,
            first_day=self.day,
            format=form,
            packed=packed,
        )
        cpu, began = cpu_s(self.roots), time.perf_counter()
        bill = await _billed(self.channel, request)
        took, spent = time.perf_counter() - began, cpu_s(self.roots) - cpu
        if bill.rows != movements:
            raise Failed(f"the bill has {bill.rows} rows")
        words = f"{bill.file}: {bill.rows:,} rows, {bill.bytes:,} bytes in {took:.1f} s"
        self.say(f"{words}, {spent:.1f} s of CPU")
        return bill, round(took, 2), round(spent, 2)


async def _verified(channel: aio.Channel, bill_id: int) -> bool:
    stub: Any = bill_stubs.BillServiceStub(channel)
    request = bill_pb.VerifyBillRequest(bill_id=bill_id)
    return bool((await stub.VerifyBill(request, timeout=DONE_S_MAX)).same)


async def _billed(channel: aio.Channel, request: bill_pb.MakeBillRequest) -> bill_pb.Bill:
    """The bill when it is published."""
    stub: Any = bill_stubs.BillServiceStub(channel)
    bill: bill_pb.Bill = (await stub.MakeBill(request, timeout=CALL_S)).bill

    async def published() -> bool:
        nonlocal bill
        asked = bill_pb.GetBillRequest(bill_id=bill.bill_id)
        bill = (await stub.GetBill(asked, timeout=CALL_S)).bill
        return bill.status != bill_pb.BILL_STATUS_MAKING

    if not await until(published, DONE_S_MAX) or bill.status != bill_pb.BILL_STATUS_PUBLISHED:
        raise Failed(f"the bill was not made: {bill.what}")
    return bill


# ---------------------------------------------------------------- processes
@dataclass(frozen=True, slots=True)
class _Serving:
    """A process that answers."""

    target: str
    channel: aio.Channel
    pid: int


@asynccontextmanager
async def _serving(
    name: str, env: Mapping[str, str], home: Path, *words: str
) -> AsyncGenerator[_Serving]:
    """One process of a service."""
    port = free_port()
    target = f"127.0.0.1:{port}"
    served = {**env, f"SHOUDAN_{name.upper()}_LISTEN_PORT": str(port)}
    async with process(name, served, home, "serve", name, *words) as pid:
        channel = connect(target)
        ask = _ASK[name]
        try:
            if not await until(lambda: _answers(ask(channel)), START_S_MAX):
                raise Failed(f"{name} did not start:\n{tail(log_of(name, home))}")
            yield _Serving(target, channel, pid)
        finally:
            await channel.close()


def _ask_pay(channel: aio.Channel) -> Awaitable[Any]:
    stub: Any = stubs.LedgerServiceStub(channel)
    return stub.ListAccounts(pb.ListAccountsRequest(), timeout=2)


def _ask_finance(channel: aio.Channel) -> Awaitable[Any]:
    stub: Any = day_stubs.FinanceServiceStub(channel)
    return stub.ListDays(day_pb.ListDaysRequest(), timeout=2)


_ASK: Final[Mapping[str, Callable[[aio.Channel], Awaitable[Any]]]] = {
    "pay": _ask_pay,
    "finance": _ask_finance,
}


async def _answers(asked: Awaitable[Any]) -> bool:
    try:
        await asked
    except aio.AioRpcError:
        return False
    return True
