"""`shoudan bench lifecycle`: whole orders per second through HTTP, and what each costs where."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, cast

import aiohttp
import orjson

from shoudan.order.v1 import risk_service_pb2 as risk
from shoudan.order.v1 import risk_service_pb2_grpc as risk_grpc
from shoudan.pay.v1 import ledger_service_pb2 as pay
from shoudan.pay.v1 import ledger_service_pb2_grpc as pay_grpc
from shoudan_cli import stored
from shoudan_cli.bench_layout import ONE, Layout
from shoudan_cli.bench_parts import cpu_s, pgbench, pgbench_tps, preallocate_wal
from shoudan_cli.clients import Clients, Failed
from shoudan_cli.cpu import Usage, usage
from shoudan_cli.footprint import Footprint, PerOrder, between, look, memory_mib
from shoudan_cli.system import System
from shoudan_cli.wiring import GATEWAY, LOOPBACK, SANDBOX, SERVICES, replica
from shoudan_kit.db.shard_map import schema_of
from shoudan_kit.ids import first_of
from shoudan_kit.process.child import Child, tail
from shoudan_kit.process.replicas import Look
from shoudan_kit.process.replicas import look as look_at

WARM_S: Final = 3.0
END_S_MAX: Final = 60.0
END_POLL_S: Final = 0.1
CREDIT_MICROS: Final = 10**15
PGBENCH_CLIENTS: Final = 32
PGBENCH_SCALE: Final = 10
STATED: Final = "&max_amount=198"  # 安全价: what a product of the bench sells for
_MOST: Final = 1_000_000_000  # far beyond what a bench orders: counted, never refused
RULES: Final = (
    risk.RiskRule(
        rule_id="bench-account",
        per=risk.RiskRule.PER_ACCOUNT,
        within=risk.RiskRule.WITHIN_DAY,
        count_max=_MOST,
        enabled=True,
    ),
    risk.RiskRule(
        rule_id="bench-product",
        per=risk.RiskRule.PER_PRODUCT,
        within=risk.RiskRule.WITHIN_MONTH,
        amount_max_micros=_MOST * 1_000_000,
        enabled=True,
    ),
)
OWN: Final = (*SERVICES, GATEWAY, "postgres", "nats")

COMPLETE: Final = """
    SELECT ARRAY[
        count(*) FILTER (WHERE order_status = 0 AND notify_status = 0 AND complete_up_pay = 0),
        count(*)
    ]
    FROM {schema}.oms_order_info WHERE order_id >= {since}
"""  # asked twice of each shard in a run, so it may read all orders of it


@dataclass(frozen=True, slots=True)
class Checks:
    """What must hold for the figures to mean anything."""

    all_final: bool
    ledger_verified: bool
    fulfilled_once: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """What `--json` prints, with exactly these keys.

    A lifecycle is complete when the order is final, its supplier paid and its partner notified. Times are
    from the request to the notify. `total` leaves out the sandbox and the load generator, which play
    the outside world. `cost_ratio` is that by `tpcb_cpu_us`, what the server spends on a transaction of
    TPC-B in the same run, so it compares builds on machines that differ. `orders_per_postgres_core`: so many
    a second keep a core of PostgreSQL's server busy. `memory_mib` is that of each
    process at the end of the window. `batch_sizes` are means of the window.
    """

    lifecycles_per_s: float
    cpu_us_per_order: dict[str, float]
    tpcb_tps: float
    ratio: float
    tpcb_cpu_us: float
    cost_ratio: float
    orders_per_postgres_core: float
    p50_ms: float
    p99_ms: float
    batch_sizes: dict[str, float]
    memory_mib: dict[str, float]
    per_order: PerOrder
    checks: Checks


@dataclass(frozen=True, slots=True)
class Mark:
    """One look at the clock, the orders and the processors."""

    at_s: float
    complete: int
    cpu: dict[str, Usage]
    memory_mib: dict[str, float]
    footprint: Footprint
    looks: list[Look]


@dataclass(frozen=True, slots=True)
class Run:
    """What is measured: orders with numbers from `since` on; so many deliveries were fulfilled before."""

    system: System
    layout: Layout
    since: int
    fulfilled: int
    zipf: float


class ChecksFailed(Failed):
    """The run is worth nothing; `checks` says why."""

    def __init__(self, checks: Checks) -> None:
        super().__init__(
            f"no rate, because a check failed: {orjson.dumps(asdict(checks)).decode()}"
        )
        self.checks = checks


async def bench(
    seconds: float,
    in_flight: int,
    say: Callable[[str], None],
    layout: Layout = ONE,
    rate: float = 0,
    zipf: float = 0,
) -> Figures:
    """Start a system as in production, measure for `seconds`, check everything, stop it.

    With a `rate` orders are due at their times, whatever the system does; with `zipf` a channel orders the
    less the later it comes in the list. Raises ChecksFailed and Failed.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="shoudan-bench-")))
        system = await stack.enter_async_context(
            System.start(
                profile="demo",
                env=layout.environment(folder),
                catalogue=layout.catalogue(folder),
                replicas=layout.replicas,
                connections=layout.connections,
                report=lambda event: say(str(event)),
            )
        )
        clients = system.clients()
        try:
            await preallocate_wal(system.postgres)
            await fill(clients, layout)
            if layout.stored:
                await stored.load(system, layout, say)
            run = Run(system, layout, first_of(datetime.now(UTC)), await _fulfilled(system), zipf)
            measured, first, last = await _load(run, seconds, (in_flight, rate))
            placed = measured["placed"] - measured["refused"]
            checks = Checks(
                all_final=await _all_final(run, placed) and not measured["refused"],
                ledger_verified=await _verified(clients, layout),
                fulfilled_once=await _fulfilled(system) == run.fulfilled + placed,
            )
        finally:
            await clients.close()
        say(
            f"{measured['placed']} placed, {measured['refused']} refused {measured['reasons']}, {checks}"
        )
        tpcb = await _tpcb(system, seconds)
    if not (checks.all_final and checks.ledger_verified and checks.fulfilled_once):
        raise ChecksFailed(checks)
    return _figures(measured, first, last, tpcb, checks)


def _figures(measured: Any, first: Mark, last: Mark, tpcb: _Tpcb, checks: Checks) -> Figures:
    count = last.complete - first.complete
    rate = count / (last.at_s - first.at_s)
    spent = {name: (last.cpu[name] - first.cpu[name]) * 1e6 / max(1, count) for name in last.cpu}
    each = {name: round(value, 1) for name, value in spent.items()}
    total = sum(spent[name] for name in OWN)
    return Figures(
        lifecycles_per_s=round(rate, 1),
        cpu_us_per_order={"total": round(total, 1), **each},
        tpcb_tps=round(tpcb.per_s, 1),
        ratio=round(rate / tpcb.per_s, 3),
        tpcb_cpu_us=round(tpcb.cpu_us, 1),
        cost_ratio=round(total / tpcb.cpu_us, 2),
        orders_per_postgres_core=round(1e6 / max(1, spent["postgres"]), 1),
        p50_ms=round(measured["p50_ms"], 1),
        p99_ms=round(measured["p99_ms"], 1),
        batch_sizes=_batch_sizes(first.looks, last.looks),
        memory_mib=last.memory_mib,
        per_order=between(first.footprint, last.footprint, count),
        checks=checks,
    )


async def fill(clients: Clients, layout: Layout) -> None:
    """Credit enough for any run."""
    for name in layout.names:
        message = pay.UpdateAccountRequest(
            key=pay.AccountKey(ident="oms", groups="down_channel", eid=name),
            credit_micros=CREDIT_MICROS,
        )
        await clients.call("pay", pay_grpc.LedgerServiceStub, "UpdateAccount", message)
    for rule in RULES if layout.rules else ():
        wanted = risk.SetRuleRequest(rule=rule, by="bench", reason="measured")
        await clients.call("order", risk_grpc.RiskServiceStub, "SetRule", wanted)


async def _load(run: Run, seconds: float, asked: tuple[int, float]) -> tuple[Any, Mark, Mark]:
    """Run the load generator; its figures, and the marks at both ends of the window."""
    system, layout = run.system, run.layout
    output = system.log_path("load")
    gateways = [
        f"http://{LOOPBACK}:{system.ports[replica(GATEWAY, one)]}"
        for one in range(1, layout.replicas + 1)
    ]
    in_flight, rate = map(str, asked)
    words = [",".join(gateways), in_flight, ",".join(layout.names), rate]
    words += [f"{layout.faces[0]}:{layout.faces[-1] + 1}", str(run.zipf)]
    if layout.rules:
        words.append(STATED)
    argv = [sys.executable, "-m", "shoudan_cli.load", *words]
    child = Child.spawn(argv, env=system.env, output=output)
    await asyncio.sleep(WARM_S)
    first = await _mark(run, child.pid)
    await asyncio.sleep(seconds)
    last = await _mark(run, child.pid)
    child.send(2)
    if await child.wait() != 0:
        raise Failed(f"the load generator failed:\n{tail(output)}")
    return orjson.loads(output.read_bytes().splitlines()[-1]), first, last


async def _mark(run: Run, load_pid: int) -> Mark:
    system, layout = run.system, run.layout
    served = {
        replica(name, one): name
        for name in (*SERVICES, GATEWAY)
        for one in range(1, layout.replicas + 1)
    }
    pids = {name: system.supervisor.pid(name) for name in (*served, "postgres", "nats", SANDBOX)}
    memory, footprint = memory_mib(pids), await look(system.postgres.admin, SERVICES)
    looks = await look_at(
        {one: f"http://{LOOPBACK}:{system.ports[f'{one} ops']}" for one in served}
    )
    complete, _ = await _counts(run)
    at_s = asyncio.get_running_loop().time()
    spent: defaultdict[str, Usage] = defaultdict(Usage)
    for name, seconds in usage({**pids, "load_generator": load_pid}).items():
        spent[served.get(name, name)] += seconds  # of all replicas of a service together
    return Mark(at_s, complete, spent, memory, footprint, looks)


def _batch_sizes(first: Sequence[Look], last: Sequence[Look]) -> dict[str, float]:
    """Calls of a mean batch between two looks, by what gathers them."""
    counted: defaultdict[str, float] = defaultdict(float)
    summed: defaultdict[str, float] = defaultdict(float)
    for sign, looks in ((-1, first), (1, last)):
        for one in looks:
            for found, end in ((counted, "count"), (summed, "sum")):
                for labels, value in one.samples.get(f"shoudan_batch_size_{end}", {}).items():
                    found[dict(labels)["name"]] += sign * value
    return {name: round(summed[name] / count, 1) for name, count in counted.items() if count}


async def _counts(run: Run) -> tuple[int, int]:
    complete, there = 0, 0
    async with run.system.postgres.admin("shoudan_order") as db:
        for shard in range(run.layout.shards):
            asked = COMPLETE.format(schema=schema_of(shard), since=run.since)
            done, all_ = cast("list[int]", await db.fetchval(asked))
            complete, there = complete + done, there + all_
    return complete, there


async def _all_final(run: Run, placed: int) -> bool:
    """Whether every order taken is complete, given time for the last ones."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + END_S_MAX
    while True:
        complete, there = await _counts(run)
        if complete == there == placed:
            return True
        if loop.time() > deadline:
            return False
        await asyncio.sleep(END_POLL_S)


async def _verified(clients: Clients, layout: Layout) -> bool:
    stub: Any = pay_grpc.LedgerServiceStub(clients.channel("pay"))
    for shard in range(layout.shards):
        last: Any = None
        async for answer in stub.Verify(pay.VerifyRequest(shard=shard)):
            last = answer
        if last is None or not last.done or last.findings:
            return False
    return True


async def _fulfilled(system: System) -> int:
    """Deliveries that the supplier fulfilled; below zero when it fulfilled one of them twice."""
    url = f"{system.sandbox_url}/supplier/journal"
    async with aiohttp.ClientSession(trust_env=False) as http, http.get(url) as answer:
        journal: Any = await answer.json(content_type=None)
    return -1 if journal["fulfilled_twice_count"] else journal["fulfilled"]


@dataclass(frozen=True, slots=True)
class _Tpcb:
    """pgbench's own TPC-B on the same server: transactions a second, and the server's CPU for one."""

    per_s: float
    cpu_us: float


async def _tpcb(system: System, seconds: float) -> _Tpcb:
    async with system.postgres.admin() as db:
        await db.execute("CREATE DATABASE bench")
    await pgbench(system.postgres, "bench", f"-i -q -s {PGBENCH_SCALE}")
    whole_s = max(1, round(seconds))
    words = f"-n -M prepared -c {PGBENCH_CLIENTS} -j 2 -T {whole_s}"
    roots = [system.supervisor.pid("postgres")]
    began_s = cpu_s(roots)
    per_s = await pgbench_tps(system.postgres, "bench", words)
    return _Tpcb(per_s, (cpu_s(roots) - began_s) * 1e6 / (per_s * whole_s))
