"""`shoudan bench delivery`: a slow supplier used to its limit, and what a channel beside it feels of that."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import aiohttp
from grpc import aio

from shoudan.delivery.v1 import delivery_service_pb2 as pb
from shoudan.delivery.v1 import delivery_service_pb2_grpc as stubs
from shoudan.order.v1 import order_service_pb2 as order_pb
from shoudan.order.v1 import order_service_pb2_grpc as order_stubs
from shoudan_cli.bench_parts import environ, log_of, migrate, preallocate_wal, process
from shoudan_cli.clients import Failed
from shoudan_cli.cpu import usage
from shoudan_cli.load import percentile
from shoudan_kit.embedded import Nats, Postgres
from shoudan_kit.process.child import tail
from shoudan_kit.process.polling import until
from shoudan_kit.process.ports import free_port, http_status
from shoudan_kit.rpc.client import connect

SLOW: Final = "slow"
BESIDE: Final = "beside"
APART: Final = "apart"
QUEUES: Final = {
    "shared": "vds:order:request,vds:order:query,vds:order:notify",
    "own": f"vds:{APART},vds:order:notify",
}
FACE_MICROS: Final = 100_000_000
ACCOUNT: Final = "100011000000000"
TIMEOUT_S: Final = 300
AHEAD: Final = (
    3  # deliveries created and not reported yet, as a multiple of those that may be in flight
)
CREATE_MAX: Final = 100
PROBERS: Final = 2
PROBE_EVERY_S: Final = 0.1  # from each, so that a quick channel is not asked more than a slow one
WARM_S: Final = 3.0
START_S_MAX: Final = 60.0
END_S_MAX: Final = 60.0
OWN: Final = ("delivery", "postgres", "nats")


_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Times:
    """From asking for one delivery to the report of its end, in milliseconds."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What `--json` prints, with exactly these keys.

    `limit_per_s` is what so many calls in flight at so slow a supplier come to. `alone` and `beside` are
    the times of another channel without and with the slow one in the same process. `apart`, at the same
    time as `beside`, are those of a channel with a queue and so a process of its own: what that one
    feels comes from the machine and the database, what `beside` feels above it from sharing a process.
    The sandbox and the load generator, which play the outside world, are left out of `total`.
    """

    deliveries_per_s: float
    limit_per_s: float
    part_of_limit: float
    cpu_us_per_delivery: dict[str, float]
    alone: Times
    beside: Times
    apart: Times
    delivery_mib_before: float
    delivery_mib_after: float
    fulfilled_once: bool


@dataclass(frozen=True, slots=True)
class _Mark:
    at_s: float
    reported: int
    cpu: dict[str, float]


class Orders(order_stubs.OrderServiceServicer):
    """An order service that counts the results reported to it, and wakes who waits for one."""

    def __init__(self) -> None:
        self.reported = 0
        self.failed = 0
        self.came = asyncio.Event()
        self.waited: dict[int, asyncio.Future[None]] = {}

    async def ReportResults(self, request: Any, context: Any) -> Any:
        """Acknowledge all."""
        acks = [order_pb.ReportResultsResponse.Ack(id=one.id) for one in request.results]
        for one in request.results:
            self.failed += not one.succeeded
            if (waiting := self.waited.pop(one.id, None)) is not None:
                waiting.set_result(None)
        self.reported += len(acks)
        self.came.set()
        return order_pb.ReportResultsResponse(acks=acks)


@dataclass
class Site:
    """A delivery process between an order service that is played and suppliers that are, too."""

    pid: int
    deliveries: Any
    suppliers: Any
    orders: Orders
    mocks: dict[str, tuple[int, int]]  # port and pid of the supplier of each channel
    asked: int = 0
    enough: bool = False

    async def supply(self, ahead: int) -> None:
        """Ask for deliveries of the slow channel as fast as they end, until `enough`.

        Never cancelled: it would stay unknown whether the call under way created its deliveries.
        """
        while not self.enough:
            self.orders.came.clear()
            while not self.enough and self.asked - self.orders.reported <= ahead - CREATE_MAX:
                await self._create(SLOW, list(itertools.islice(_numbers, CREATE_MAX)))
            await self.orders.came.wait()

    async def _create(self, channel_no: str, numbers: Sequence[int]) -> None:
        self.asked += len(numbers)
        items = [_item(channel_no, number) for number in numbers]
        answer = await self.deliveries.CreateDeliveries(pb.CreateDeliveriesRequest(items=items))
        if not all(one.HasField("delivery") for one in answer.results):
            raise Failed("a delivery was refused")

    async def probe(self, channel_no: str, seconds: float) -> Times:
        """Single deliveries on a channel, at a steady rate."""
        stop = time.perf_counter() + seconds
        took_s: list[float] = []

        async def prober(delay_s: float) -> None:
            await asyncio.sleep(delay_s)
            while (began := time.perf_counter()) < stop:
                number = next(_numbers)
                reported = self.orders.waited[number] = asyncio.get_running_loop().create_future()
                await self._create(channel_no, [number])
                await reported
                took_s.append(time.perf_counter() - began)
                await asyncio.sleep(max(0.0, PROBE_EVERY_S - took_s[-1]))

        await asyncio.gather(*[prober(PROBE_EVERY_S * n / PROBERS) for n in range(PROBERS)])
        return Times(
            round(percentile(took_s, 0.5) * 1000, 1), round(percentile(took_s, 0.99) * 1000, 1)
        )

    async def fulfilled_once(self) -> bool:
        """Whether every delivery created is reported as delivered, and a supplier did each once."""

        async def answered() -> bool:
            return self.orders.reported == self.asked

        if not await until(answered, END_S_MAX):
            return False
        fulfilled = twice = 0
        async with aiohttp.ClientSession(trust_env=False) as http:
            for port, _ in self.mocks.values():
                async with http.get(f"http://127.0.0.1:{port}/supplier/journal") as answer:
                    journal: Any = await answer.json(content_type=None)
                fulfilled += journal["fulfilled"]
                twice += journal["fulfilled_twice_count"]
        return fulfilled == self.asked and twice == 0 and self.orders.failed == 0


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
    """Start PostgreSQL, NATS, delivery and suppliers as in production, measure, stop them.

    Raises Failed when something does not start, refuses, or does not end.
    """
    async with await Postgres.start() as postgres, await Nats.start() as nats:
        urls = (await postgres.provision(["delivery"]))["delivery"]
        env = environ("delivery", urls, nats.url)
        await migrate("delivery", env, postgres.home.path)
        await preallocate_wal(postgres)
        async with (
            _site("shared", (SLOW, BESIDE), env, postgres.home.path) as site,
            _site("own", (APART,), env, postgres.home.path) as other,
        ):
            for one in (site, other):
                await _apply(one, in_flight, latency_s)
            pids = {
                "delivery": site.pid,
                "postgres": postgres.pid,
                "nats": nats.pid,
                "sandbox": site.mocks[SLOW][1],
            }
            return await _measure(site, other, seconds, in_flight, in_flight / latency_s, pids, say)


async def _measure(
    site: Site,
    other: Site,
    seconds: float,
    in_flight: int,
    limit: float,
    pids: Mapping[str, int],
    say: Callable[[str], None],
) -> Figures:
    async def probe(seconds: float) -> tuple[Times, Times]:
        found = await asyncio.gather(site.probe(BESIDE, seconds), other.probe(APART, seconds))
        return found[0], found[1]

    await probe(WARM_S)
    alone, _ = await probe(seconds)
    say(f"another channel alone: {alone}")
    supplying = asyncio.create_task(site.supply(AHEAD * in_flight))
    try:
        await asyncio.sleep(2 * WARM_S)
        mib_before, first = _mib(site.pid), _mark(site, pids)
        beside, apart = await probe(seconds)
        mib_after, last = _mib(site.pid), _mark(site, pids)
    finally:
        site.enough = True
        site.orders.came.set()
        await supplying
    say(f"beside the slow one: {beside}; in a process of its own: {apart}")
    count = max(1, last.reported - first.reported)
    spent = {name: (last.cpu[name] - first.cpu[name]) * 1e6 / count for name in pids}
    rate = count / (last.at_s - first.at_s)
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
        apart=apart,
        delivery_mib_before=mib_before,
        delivery_mib_after=mib_after,
        fulfilled_once=await site.fulfilled_once() and await other.fulfilled_once(),
    )


def _mark(site: Site, pids: Mapping[str, int]) -> _Mark:
    return _Mark(time.perf_counter(), site.orders.reported, usage(pids))


def _mib(pid: int) -> float:
    """Memory of a process that is in use now."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("utf-8"))
    return round(int(found[1]) / 1024, 1) if found else 0.0


async def _serve(orders: Orders) -> tuple[aio.Server, int]:
    server = aio.server()
    order_stubs.add_OrderServiceServicer_to_server(orders, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


@asynccontextmanager
async def _site(
    name: str, channels: Sequence[str], env: Mapping[str, str], home: Path
) -> AsyncGenerator[Site]:
    """A process of the delivery service; each channel's supplier is a process, too."""
    port, orders = free_port(), cast("Orders", cast("Any", Orders)())
    server, order_port = await _serve(orders)
    env = {
        **env,
        "SHOUDAN_DELIVERY_LISTEN_PORT": str(port),
        "SHOUDAN_DELIVERY_ORDER_TARGET": f"127.0.0.1:{order_port}",
        "SHOUDAN_DELIVERY_TASK_QUEUES": QUEUES[name],
    }
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop, None)
        mocks: dict[str, tuple[int, int]] = {}
        for channel_no in channels:
            mock, journal = free_port(), str(home / f"{channel_no}.jsonl")
            words = ("mock", "upstream", "--port", str(mock), "--journal", journal)
            pid = await stack.enter_async_context(
                process(f"supplier-{channel_no}", env, home, *words)
            )
            mocks[channel_no] = mock, pid
        serving = process(f"delivery-{name}", env, home, "serve", "delivery")
        pid = await stack.enter_async_context(serving)
        channel = connect(f"127.0.0.1:{port}")
        stack.push_async_callback(channel.close)
        deliveries = stubs.DeliveryServiceStub(channel)
        suppliers = stubs.SupplierServiceStub(channel)
        site = Site(pid, deliveries, suppliers, orders, mocks)
        if not await until(lambda: _ready(site), START_S_MAX):
            raise Failed(f"delivery did not start:\n{tail(log_of(f'delivery-{name}', home))}")
        yield site


async def _ready(site: Site) -> bool:
    try:
        await site.suppliers.ListSuppliers(pb.ListSuppliersRequest(), timeout=2)
    except aio.AioRpcError:
        return False
    return all([await http_status(port, "/healthz") == 200 for port, _ in site.mocks.values()])


async def _apply(site: Site, in_flight: int, latency_s: float) -> None:
    """A channel for each supplier; only one is slow."""
    suppliers = [
        pb.Supplier(
            channel_no=channel_no,
            service_class=10,
            request_url=f"http://127.0.0.1:{port}/supplier/request",
            query_url=f"http://127.0.0.1:{port}/supplier/query",
            request_replenish_time_s=30,
            first_query_time_s=1,
            query_replenish_time_s=5,
            can_query=True,
            concurrency_max=in_flight,
            timeout_s=latency_s + 10,
            enabled=True,
            queue_name=f"vds:{APART}" if channel_no == APART else "",
            error_codes=[pb.Supplier.ErrorCode(error_code="R_0000", deal_code=0)],
        )
        for channel_no, (port, _) in site.mocks.items()
    ]
    await site.suppliers.ApplySuppliers(pb.ApplySuppliersRequest(suppliers=suppliers, by="bench"))
    if SLOW not in site.mocks:
        return
    where = f"http://127.0.0.1:{site.mocks[SLOW][0]}/supplier/knobs?channel_no={SLOW}"
    async with (
        aiohttp.ClientSession(trust_env=False) as http,
        http.post(where, json={"latency_s": latency_s}) as answer,
    ):
        if answer.status != 200:
            raise Failed("the sandbox supplier could not be made slow")
