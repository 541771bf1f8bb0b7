"""`shoudan bench delivery`: a slow supplier used to its limit, and what a channel beside it feels of that."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import aiohttp
from grpc import aio

from shoudan.delivery.v1 import delivery_service_pb2 as pb
from shoudan.delivery.v1 import delivery_service_pb2_grpc as stubs
from shoudan.order.v1 import order_service_pb2 as order_pb
from shoudan.order.v1 import order_service_pb2_grpc as order_stubs
from shoudan_cli.bench_parts import environ, log_of, migrate, process, wear_in
from shoudan_cli.clients import Failed
from shoudan_cli.cpu import usage
from shoudan_cli.load import percentile
from shoudan_kit.child import tail
from shoudan_kit.embedded import Nats, Postgres
from shoudan_kit.probe import free_port, http_status, until
from shoudan_kit.rpc import connect

SLOW: Final = "slow"
BESIDE: Final = "beside"
FACE_MICROS: Final = 100_000_000
ACCOUNT: Final = "100011000000000"
TIMEOUT_S: Final = 300
AHEAD: Final = 2  # deliveries asked for and not told, as a multiple of those that may be in flight
CREATE_MAX: Final = 200
PROBERS: Final = 4
PROBE_EVERY_S: Final = 0.1  # from each, so that a quick channel is not asked more than a slow one
WARM_S: Final = 3.0
START_S_MAX: Final = 60.0
END_S_MAX: Final = 60.0
OWN: Final = ("delivery", "postgres", "nats")


@dataclass(frozen=True, slots=True)
class Times:
    """From asking for one delivery to the report of its end, in milliseconds."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What `--json` prints, with exactly these keys.

    `limit_per_s` is what so many calls in flight at so slow a supplier come to. `alone` and `beside` are
    the times of another channel without and with the slow one. The sandbox and the load generator, which
    play the outside world, are left out of `total`.
    """

    deliveries_per_s: float
    limit_per_s: float
    part_of_limit: float
    cpu_us_per_delivery: dict[str, float]
    alone: Times
    beside: Times
    delivery_mib_before: float
    delivery_mib_after: float
    fulfilled_once: bool


@dataclass(frozen=True, slots=True)
class _Mark:
    at_s: float
    told: int
    cpu: dict[str, float]


class Orders(order_stubs.OrderServiceServicer):
    """An order service that counts what it is told, and wakes whoever waits for it."""

    def __init__(self) -> None:
        self.told = 0
        self.failed = 0
        self.came = asyncio.Event()
        self.waited: dict[int, asyncio.Future[None]] = {}

    async def ReportResults(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Acknowledge all."""
        acks = [order_pb.ReportResultsResponse.Ack(id=one.id) for one in request.results]
        for one in request.results:
            self.failed += not one.succeeded
            if (waiting := self.waited.pop(one.id, None)) is not None:
                waiting.set_result(None)
        self.told += len(acks)
        self.came.set()
        return order_pb.ReportResultsResponse(acks=acks)


@dataclass
class Load:
    """Keeps a channel supplied with work, and measures another one beside it."""

    deliveries: Any
    orders: Orders
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    asked: int = 0

    async def supply(self, ahead: int) -> None:
        """Ask for deliveries of the slow channel as fast as they end; until cancelled."""
        while True:
            self.orders.came.clear()
            while self.asked - self.orders.told <= ahead - CREATE_MAX:
                await self.create(SLOW, CREATE_MAX)
            await self.orders.came.wait()

    async def create(self, channel_no: str, count: int) -> list[int]:
        """Ask for deliveries; their numbers. Raises Failed when one is refused."""
        numbers = list(itertools.islice(self.numbers, count))
        self.asked += count
        items = [_item(channel_no, number) for number in numbers]
        answer = await self.deliveries.CreateDeliveries(pb.CreateDeliveriesRequest(items=items))
        if not all(one.HasField("delivery") for one in answer.results):
            raise Failed("a delivery was refused")
        return numbers

    async def probe(self, seconds: float) -> Times:
        """Single deliveries on the other channel, at a steady rate."""
        stop = time.perf_counter() + seconds
        took_s: list[float] = []

        async def prober(delay_s: float) -> None:
            await asyncio.sleep(delay_s)
            while (began := time.perf_counter()) < stop:
                number = next(self.numbers)
                told = asyncio.get_running_loop().create_future()
                self.orders.waited[number] = told
                self.asked += 1
                request = pb.CreateDeliveriesRequest(items=[_item(BESIDE, number)])
                await self.deliveries.CreateDeliveries(request)
                await told
                took_s.append(time.perf_counter() - began)
                await asyncio.sleep(max(0.0, PROBE_EVERY_S - took_s[-1]))

        await asyncio.gather(*[prober(PROBE_EVERY_S * n / PROBERS) for n in range(PROBERS)])
        return Times(
            round(percentile(took_s, 0.5) * 1000, 1), round(percentile(took_s, 0.99) * 1000, 1)
        )


def _item(channel_no: str, number: int) -> pb.CreateDeliveriesRequest.Item:
    return pb.CreateDeliveriesRequest.Item(
        key=pb.DeliveryKey(coop_id="bench", coop_order_id=str(number), service_class=10),
        channel_no=channel_no,
        carrier_no="ZSH",
        face_micros=FACE_MICROS,
        num=1,
        account=ACCOUNT,
        timeout_s=TIMEOUT_S,
        order_id=str(number),
    )


async def bench(
    seconds: float, in_flight: int, latency_s: float, say: Callable[[str], None]
) -> Figures:
    """Start PostgreSQL, NATS, delivery and the sandbox supplier as in production, measure, stop them.

    Raises Failed when something does not start, refuses, or does not end.
    """
    async with await Postgres.start() as postgres, await Nats.start() as nats:
        urls = (await postgres.provision(["delivery"]))["delivery"]
        home, port = postgres.home.path, free_port()
        mocks = {
            SLOW: free_port(),
            BESIDE: free_port(),
        }  # two suppliers, so that neither waits there
        orders: Orders = cast("Any", Orders)()  # the other calls are answered UNIMPLEMENTED
        server, order_port = await _serve(orders)
        env = environ("delivery", urls, nats.url) | {
            "SHOUDAN_DELIVERY_LISTEN_PORT": str(port),
            "SHOUDAN_DELIVERY_ORDER_TARGET": f"127.0.0.1:{order_port}",
        }
        await migrate("delivery", env, home)
        await wear_in(postgres)
        try:
            async with (
                _sandbox(SLOW, mocks, env, home) as sandbox_pid,
                _sandbox(BESIDE, mocks, env, home),
                process("delivery", env, home, "serve", "delivery") as delivery_pid,
            ):
                pids = {
                    "delivery": delivery_pid,
                    "postgres": postgres.pid,
                    "nats": nats.pid,
                    "sandbox": sandbox_pid,
                    "load_generator": os.getpid(),
                }
                channel = connect(f"127.0.0.1:{port}")
                try:
                    await _ready(channel, mocks, home)
                    await _apply(channel, mocks, in_flight, latency_s)
                    load = Load(stubs.DeliveryServiceStub(cast("Any", channel)), orders)
                    return await _measure(load, seconds, in_flight, latency_s, pids, mocks, say)
                finally:
                    await channel.close()
        finally:
            await server.stop(None)


async def _measure(
    load: Load,
    seconds: float,
    in_flight: int,
    latency_s: float,
    pids: Mapping[str, int],
    mocks: Mapping[str, int],
    say: Callable[[str], None],
) -> Figures:
    await load.probe(WARM_S)
    alone = await load.probe(seconds)
    say(f"another channel alone: p50 {alone.p50_ms} ms, p99 {alone.p99_ms} ms")
    supplying = asyncio.create_task(load.supply(AHEAD * in_flight))
    try:
        await asyncio.sleep(WARM_S + latency_s)
        mib_before = _mib(pids["delivery"])
        first = _mark(load, pids)
        beside = await load.probe(seconds)
        last = _mark(load, pids)
        mib_after = _mib(pids["delivery"])
    finally:
        supplying.cancel()
        with suppress(asyncio.CancelledError):
            await supplying
    say(f"beside {in_flight} in flight: p50 {beside.p50_ms} ms, p99 {beside.p99_ms} ms")
    count = max(1, last.told - first.told)
    spent = {name: (last.cpu[name] - first.cpu[name]) * 1e6 / count for name in pids}
    rate, limit = count / (last.at_s - first.at_s), in_flight / latency_s
    return Figures(
        deliveries_per_s=round(rate, 1),
        limit_per_s=round(limit, 1),
        part_of_limit=round(rate / limit, 3),
        cpu_us_per_delivery={
            "total": round(sum(spent[name] for name in OWN), 1),
            **{name: round(value, 1) for name, value in spent.items()},
        },
        alone=alone,
        beside=beside,
        delivery_mib_before=mib_before,
        delivery_mib_after=mib_after,
        fulfilled_once=await _fulfilled_once(load, mocks),
    )


def _mark(load: Load, pids: Mapping[str, int]) -> _Mark:
    return _Mark(time.perf_counter(), load.orders.told, usage(pids))


def _mib(pid: int) -> float:
    """Memory of a process that is in use now."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("utf-8"))
    return round(int(found[1]) / 1024, 1) if found else 0.0


async def _fulfilled_once(load: Load, mocks: Mapping[str, int]) -> bool:
    """Whether all that was asked for is told as delivered, and a supplier did each once."""
    if not await until(lambda: _answered(load), END_S_MAX):
        return False
    fulfilled = twice = 0
    async with aiohttp.ClientSession(trust_env=False) as http:
        for mock in mocks.values():
            async with http.get(f"http://127.0.0.1:{mock}/supplier/journal") as answer:
                journal: Any = await answer.json(content_type=None)
            fulfilled += journal["fulfilled"]
            twice += journal["fulfilled_twice_count"]
    return fulfilled == load.asked and twice == 0 and load.orders.failed == 0


async def _answered(load: Load) -> bool:
    return load.orders.told == load.asked


async def _serve(orders: Orders) -> tuple[aio.Server, int]:
    server = aio.server()
    cast("Any", order_stubs).add_OrderServiceServicer_to_server(orders, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


def _sandbox(
    channel_no: str, mocks: Mapping[str, int], env: Mapping[str, str], home: Path
) -> AbstractAsyncContextManager[int]:
    journal = str(home / f"{channel_no}.jsonl")
    words = ("mock", "upstream", "--port", str(mocks[channel_no]), "--journal", journal)
    return process(f"sandbox-{channel_no}", env, home, *words)


async def _ready(channel: aio.Channel, mocks: Mapping[str, int], home: Path) -> None:
    async def answers() -> bool:
        try:
            stub: Any = stubs.SupplierServiceStub(cast("Any", channel))
            await stub.ListSuppliers(pb.ListSuppliersRequest(), timeout=2)
        except aio.AioRpcError:
            return False
        return all([await http_status(mock, "/healthz") == 200 for mock in mocks.values()])

    if not await until(answers, START_S_MAX):
        raise Failed(f"delivery did not start:\n{tail(log_of('delivery', home))}")


async def _apply(
    channel: aio.Channel, mocks: Mapping[str, int], in_flight: int, latency_s: float
) -> None:
    """A channel for each supplier; only the first is slow."""
    urls = {channel_no: f"http://127.0.0.1:{mock}" for channel_no, mock in mocks.items()}
    suppliers = [
        pb.Supplier(
            channel_no=channel_no,
            service_class=10,
            request_url=f"{url}/supplier/request",
            query_url=f"{url}/supplier/query",
            request_replenish_time_s=30,
            first_query_time_s=1,
            query_replenish_time_s=5,
            can_query=True,
            concurrency_max=in_flight,
            timeout_s=latency_s + 10,
            enabled=True,
            error_codes=[pb.Supplier.ErrorCode(error_code="R_0000", deal_code=0)],
        )
        for channel_no, url in urls.items()
    ]
    stub: Any = stubs.SupplierServiceStub(cast("Any", channel))
    await stub.ApplySuppliers(pb.ApplySuppliersRequest(suppliers=suppliers, by="bench"))
    where = f"{urls[SLOW]}/supplier/knobs?channel_no={SLOW}"
    knobs = {"latency_s": latency_s}
    async with (
        aiohttp.ClientSession(trust_env=False) as http,
        http.post(where, json=knobs) as answer,
    ):
        if answer.status != 200:
            raise Failed("the sandbox supplier could not be made slow")
