"""The process dies before and after each step that writes: every delivery ends, none is fulfilled twice."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from shoudan.delivery.v1 import delivery_service_pb2 as pb
from shoudan.delivery.v1 import delivery_service_pb2_grpc as delivery_grpc
from shoudan_fakes.sandbox import Sandbox
from shoudan_kit.faults import EXIT_CODE
from shoudan_kit.process.child import Child
from tests.delivery.conftest import CODES, Orders, key, order_service
from tests.poll import eventually

SERVE = ("-m", "shoudan_cli", "serve", "delivery")
ALL = 12


class Mortal:
    """A delivery process of its own, started again after it died; it dies with the tests."""

    def __init__(self, environment: dict[str, str], port: int) -> None:
        self._environment, self.port = environment, port
        self.process: Child | None = None

    async def start(self, faults: str) -> None:
        environ = {**os.environ, **self._environment, "SHOUDAN_FAULTS": faults}
        self.process = Child.spawn((sys.executable, *SERVE), env=environ, output=Path(os.devnull))

    async def died(self) -> int:
        assert self.process is not None
        return await asyncio.wait_for(self.process.wait(), 20)

    async def stop(self) -> None:
        if self.process is not None:
            await self.process.stop(within_s=20)


@asynccontextmanager
async def child(url: str, orders_port: int, port: int) -> AsyncIterator[Mortal]:
    environment = {
        "SHOUDAN_PROFILE": "test",
        "SHOUDAN_DELIVERY_DATABASE_URL": url,
        "SHOUDAN_DELIVERY_ORDER_TARGET": f"127.0.0.1:{orders_port}",
        "SHOUDAN_DELIVERY_LISTEN_PORT": str(port),
        "SHOUDAN_DELIVERY_TASK_LEASE_S": "1",
        "SHOUDAN_DELIVERY_TASK_SCAN_S": "0.1",
        "SHOUDAN_DELIVERY_DRAIN_S": "2",
    }
    made = Mortal(environment, port)
    try:
        yield made
    finally:
        await made.stop()


async def called(port: int, work: Callable[[Any, Any], Awaitable[Any]]) -> Any:
    """One call on a connection of its own; None when the process died under it."""
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stubs = (
            delivery_grpc.DeliveryServiceStub(channel),
            delivery_grpc.SupplierServiceStub(channel),
        )
        try:
            return await work(*stubs)
        except aio.AioRpcError:
            return None


def supplier(url: str) -> pb.Supplier:
    return pb.Supplier(
        channel_no="up",
        service_class=10,
        request_url=f"{url}/supplier/request",
        query_url=f"{url}/supplier/query",
        request_replenish_time_s=1,
        first_query_time_s=0,
        query_replenish_time_s=1,
        can_query=True,
        concurrency_max=50,
        timeout_s=1,
        enabled=True,
        error_codes=[pb.Supplier.ErrorCode(error_code=c, deal_code=d) for c, d in CODES],
    )


def items() -> pb.CreateDeliveriesRequest:
    return pb.CreateDeliveriesRequest(
        items=[
            pb.CreateDeliveriesRequest.Item(
                key=key(n),
                channel_no="up",
                face_micros=10_000_000,
                num=1,
                account=f"10000{'0000' if n % 3 else '0001'}",
                timeout_s=120,
                order_id="1",
            )
            for n in range(1, ALL + 1)
        ]
    )


async def apply(port: int, url: str) -> None:
    async def once(_: Any, suppliers: Any) -> Any:
        request = pb.ApplySuppliersRequest(suppliers=[supplier(url)], by="test")
        return await suppliers.ApplySuppliers(request, timeout=30, wait_for_ready=True)

    assert await called(port, once) is not None


async def create(port: int) -> Any:
    return await called(port, lambda d, _: d.CreateDeliveries(items(), timeout=20))


@pytest.mark.parametrize(
    "fault",
    [
        "delivery.create.before_commit:exit",
        "delivery.create.after_commit:exit",
        "delivery.before_call:exit",
        "delivery.after_call:exit@5",
        "delivery.before_end:exit",
        "delivery.end.before_commit:exit",
        "delivery.end.after_commit:exit",
        "delivery.report.before_commit:exit",
    ],
)
async def test_dying_at_any_step_loses_nothing_and_sends_nothing_twice(
    fault: str, new_database: Callable[[str], Awaitable[Any]], tmp_path: Path, free_port: int
) -> None:
    urls = await new_database("delivery")
    async with Sandbox(tmp_path / "journal.jsonl") as sandbox, order_service() as (orders, told_at):
        sandbox.supplier.knobs["*"].idempotent = False
        async with child(urls.service, told_at, free_port) as process:
            await process.start(fault)
            await apply(free_port, sandbox.url)
            await create(free_port)
            assert await process.died() == EXIT_CODE
            await process.start("")
            await apply(free_port, sandbox.url)
            assert await create(free_port) is not None
            await _all_settled(free_port, sandbox, orders)


async def _all_settled(port: int, sandbox: Sandbox, orders: Orders) -> None:
    """Ended and told, or still unknown because the supplier never heard of the number."""

    async def settled() -> bool:
        request = pb.QueryDeliveriesRequest(keys=[key(n) for n in range(1, ALL + 1)])
        answer = await called(port, lambda d, _: d.QueryDeliveries(request, timeout=5))
        if answer is None:
            return False
        for one in answer.results:
            delivery = one.delivery
            there = sandbox.journal.entries.get(delivery.order_no)
            number = int(delivery.key.coop_order_id)
            never_arrived = there is None and delivery.query_count > 0
            if number in orders.told:
                assert there is not None
                assert orders.told[number].succeeded == bool(there.fulfilled)
            elif not never_arrived:
                return False
        return True

    await eventually(settled, 30, every_s=0.1)
    assert not sandbox.journal.twice
    assert not sandbox.journal.asked_again
