"""`shoudan bench finance`: how fast movements become facts and facts a bill, and in how much memory."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
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
from shoudan_cli.bench_parts import environ, log_of, migrate, preallocate_wal, process
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
    bill_rows_per_s: float
    bill_bytes: int
    finance_peak_bytes: int  # the most memory that its process had


async def bench(movements: int, say: Callable[[str], None]) -> Figures:
    """Post movements of yesterday, close the day, have it copied and proved, and its bill made.

    Raises Failed when a service does not start or the bill has other rows.
    """
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
            }
            began = time.perf_counter()
            async with _serving("finance", env | own, home) as finance:
                day = await _completed(finance.channel)
                complete_s = time.perf_counter() - began
                say(f"{day.movements:,} movements copied and proved in {complete_s:.1f} s")
                began = time.perf_counter()
                bill = await _billed(finance.channel, key, day.day)
                bill_s = time.perf_counter() - began
                peak = await asyncio.to_thread(_peak_bytes, finance.pid)
    say(f"{bill.rows:,} rows, {bill.bytes:,} bytes in {bill_s:.1f} s, {peak >> 20} MiB at most")
    if bill.rows != movements:
        raise Failed(f"the bill has {bill.rows} rows")
    rates = round(day.movements / complete_s, 1), round(bill.rows / bill_s, 1)
    return Figures(
        day.movements, round(complete_s, 2), rates[0], round(bill_s, 2), rates[1], bill.bytes, peak
    )


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


async def _billed(channel: aio.Channel, key: pb.AccountKey, day: str) -> bill_pb.Bill:
    """The bill when it is published."""
    stub: Any = bill_stubs.BillServiceStub(channel)
    request = bill_pb.MakeBillRequest(kind="fund", ident=key.ident, eid=key.eid, first_day=day)
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


def _peak_bytes(pid: int) -> int:
    """The most memory that a process had, as Linux counts it."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return next(int(one.split()[1]) << 10 for one in lines if one.startswith("VmHWM:"))
