"""Promises when the process dies around each step that writes: nothing is lost, nothing happens twice."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import text

from shoudan.core.v1 import work_service_pb2 as work_pb
from shoudan.core.v1 import work_service_pb2_grpc as work_grpc
from shoudan.delivery.v1 import delivery_service_pb2_grpc as delivery_grpc
from shoudan.order.v1 import catalogue_service_pb2 as catalogue_pb
from shoudan.order.v1 import catalogue_service_pb2_grpc as catalogue_grpc
from shoudan.order.v1 import order_service_pb2 as pb
from shoudan.order.v1 import order_service_pb2_grpc as order_grpc
from shoudan.pay.v1 import ledger_service_pb2_grpc as pay_grpc
from shoudan_kit.db.pool import Database
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.process.child import Child
from shoudan_kit.process.ports import free_port
from tests.order.harness import YUAN, FakeDelivery, FakeLedger, Inbox, catalogue, serve
from tests.poll import eventually

SERVE = ("-m", "shoudan_cli", "serve", "order")
STEPS = ("order.create", "order.pay", "order.results", "order.up_pay", "order.notify")


class Service:
    """`shoudan serve order` as a process of its own, which dies with the tests."""

    def __init__(self, urls: DatabaseUrls, target: str) -> None:
        self.port = free_port()
        self._env = {
            **os.environ,
            "SHOUDAN_PROFILE": "test",
            "SHOUDAN_ORDER_DATABASE_URL": urls.service,
            "SHOUDAN_ORDER_LISTEN_PORT": str(self.port),
            "SHOUDAN_ORDER_PAY_TARGET": target,
            "SHOUDAN_ORDER_DELIVERY_TARGET": target,
            "SHOUDAN_ORDER_TASK_LEASE_S": "1",
            "SHOUDAN_ORDER_TASK_SCAN_S": "0.1",
            "SHOUDAN_ORDER_PAY_SHORT_AGAIN_S": "1",
        }
        self.process: Child | None = None

    async def start(self, fault: str = "") -> None:
        """Start it, armed with a fault, and wait until it serves, or has died of the fault already."""
        environ = {**self._env, "SHOUDAN_FAULTS": fault}
        self.process = Child.spawn((sys.executable, *SERVE), env=environ, output=Path(os.devnull))
        soon = [("grpc.max_reconnect_backoff_ms", 200)]
        async with aio.insecure_channel(f"127.0.0.1:{self.port}", options=soon) as channel:
            stub = health_pb2_grpc.HealthStub(channel)

            async def healthy() -> bool:
                if fault and self.process is not None and self.process.code is not None:
                    return True
                try:
                    await stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
                except grpc.RpcError:
                    return False
                return True

            await eventually(healthy, 60)  # a process that starts beside all others

    async def ended(self) -> int:
        """How it ended."""
        assert self.process is not None
        return await asyncio.wait_for(self.process.wait(), 20)

    async def kill(self) -> None:
        """End it if it still runs."""
        if self.process is not None:
            await self.process.stop(signal.SIGKILL)


@pytest.fixture
async def neighbours() -> AsyncIterator[tuple[FakeLedger, FakeDelivery, str]]:
    """A ledger and suppliers that outlive the service."""
    ledger, delivery = FakeLedger(), FakeDelivery()
    server, target = await serve(
        partial(pay_grpc.add_LedgerServiceServicer_to_server, ledger),
        partial(delivery_grpc.add_DeliveryServiceServicer_to_server, delivery),
    )
    yield ledger, delivery, target
    await server.stop(None)


@pytest.mark.parametrize("moment", ["before_commit", "after_commit"])
@pytest.mark.parametrize("step", STEPS)
async def test_an_order_survives_a_death_around_each_step(
    new_database: Callable[[str], Awaitable[DatabaseUrls]],
    neighbours: tuple[FakeLedger, FakeDelivery, str],
    inbox: Inbox,
    step: str,
    moment: str,
) -> None:
    ledger, delivery, target = neighbours
    service = Service(await new_database("order"), target)
    try:
        await service.start(f"{step}.{moment}:exit")
        # With a notify the supplier's payment is recorded in its transaction; alone, in one of its own.
        alone = step == "order.up_pay"
        new = _new() if alone else _new(notify_url=inbox.url)
        await _apply(service)
        await _ask(service, new)
        assert await service.ended() == 137
        await service.start()
        order_id = (await _ask(service, new)).order.order_id
        order = await _done(service, order_id)
    finally:
        await service.kill()
    assert (order.state.status, order.up_paid) == (0, True)
    assert order.notify_status == (10 if alone else 0)
    assert ledger.of("down_channel", "test") == -180 * YUAN
    assert ledger.of("up_channel", "ycup") == -160 * YUAN
    assert len(delivery.sent) == len(order.deliveries) == 1
    assert {told["status"] for told in inbox.told} == (set() if alone else {0})


# The steps of a refund in the order of its life.
REFUND_STEPS = (
    "refund.create",
    "refund.return",
    "refund.results",
    "refund.pay",
    "refund.up_pay",
    "order.notify",
)


@pytest.mark.parametrize("moment", ["before_commit", "after_commit"])
async def test_a_refund_survives_a_death_around_each_of_its_steps(
    new_database: Callable[[str], Awaitable[DatabaseUrls]],
    neighbours: tuple[FakeLedger, FakeDelivery, str],
    inbox: Inbox,
    moment: str,
) -> None:
    """One refund, and a process that dies at each step of it, one after the other."""
    ledger, delivery, target = neighbours
    service = Service(await new_database("order"), target)
    # Supplier and partner hold back, so that the last steps come one after the other.
    inbox.answer = lambda told: (500, "later")
    try:
        await service.start()
        await _apply(service)
        order_id = (await _ask(service, _new())).order.order_id
        await _done(service, order_id)
        ledger.locked.add("ycup")
        await service.kill()
        for step in REFUND_STEPS:
            if step == "refund.up_pay":
                ledger.locked.clear()
            await service.start(f"{step}.{moment}:exit")
            await _give_back(service, inbox.url)
            assert await service.ended() == 137
        inbox.answer = lambda told: (200, "success")
        await service.start()
        await _given_back(service, order_id)
    finally:
        await service.kill()
    groups = ("channel", "commission", "service")
    assert [ledger.of(f"down_{g}", "test") for g in groups] == [0, 0, 0]
    assert [ledger.of(f"up_{g}", "ycup") for g in groups] == [0, 0, 0]
    assert [item.key.service_class for item in delivery.sent] == [10, 21]
    assert {told["status"] for told in inbox.told} == {0}


def _new(**more: Any) -> pb.NewOrder:
    return pb.NewOrder(
        channel_no="test", request_no="r1", line_id=1, carrier_no="ZSH", invoice_type=1, num=1,
        face_micros=200 * YUAN, amount_micros=198 * YUAN, **more,
    )  # fmt: skip


async def _give_back(service: Service, notify_url: str) -> None:
    """Ask for the refund, again and again; the process may die with it."""
    new = pb.NewRefund(
        channel_no="test", request_no="r1", refund_no="f1", refund_num=1, notify_url=notify_url,
        type=pb.REFUND_TYPE_GENERAL,
    )  # fmt: skip
    async with aio.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        with suppress(grpc.RpcError):
            answer = await order_grpc.OrderServiceStub(channel).CreateRefunds(
                pb.CreateRefundsRequest(refunds=[new])
            )
            assert answer.results[0].HasField("refund"), answer


async def _given_back(service: Service, order_id: int) -> None:
    async with aio.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        stub = order_grpc.OrderServiceStub(channel)

        async def settled() -> bool:
            order = (await stub.GetOrder(pb.GetOrderRequest(order_id=order_id))).order
            return [(r.status, r.refund_notify_status) for r in order.refunds] == [(0, 0)]

        await eventually(settled, 30)


async def _apply(service: Service) -> None:
    async with aio.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        given = catalogue_pb.Catalogue(**catalogue())
        await catalogue_grpc.CatalogueServiceStub(channel).ApplyCatalogue(
            catalogue_pb.ApplyCatalogueRequest(catalogue=given, by="tester")
        )


async def _ask(service: Service, new: pb.NewOrder) -> Any:
    """The answer to the request; None when the process died with it."""
    async with aio.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        try:
            answer = await order_grpc.OrderServiceStub(channel).CreateOrders(
                pb.CreateOrdersRequest(orders=[new])
            )
        except grpc.RpcError:
            return None
        return answer.results[0]


async def _done(service: Service, order_id: int) -> pb.Order:
    async with aio.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        stub = order_grpc.OrderServiceStub(channel)

        async def read() -> pb.Order:
            return (await stub.GetOrder(pb.GetOrderRequest(order_id=order_id))).order

        async def settled() -> bool:
            order = await read()
            return order.up_paid and order.notify_status in {0, 10}

        await eventually(settled, 20)
        return await read()


WHERE_DECISIONS_DIE = {
    "delivery": (
        "order.results.after_commit",
        "audit.decide.before_commit",
        "audit.decide.after_commit",
    ),
    "parked_order": ("audit.request.before_commit", "audit.request.after_commit"),
    "notify": ("notify.resend.before_commit", "notify.resend.after_commit"),
}
WORDS = {"delivery": "success", "parked_order": "audit", "notify": "retry"}


@pytest.mark.parametrize(
    ("kind", "fault"), [(kind, one) for kind, some in WHERE_DECISIONS_DIE.items() for one in some]
)
async def test_a_decision_whose_process_died_is_answered_when_it_is_repeated(
    new_database: Callable[[str], Awaitable[DatabaseUrls]],
    neighbours: tuple[FakeLedger, FakeDelivery, str],
    inbox: Inbox,
    kind: str,
    fault: str,
) -> None:
    _, delivery, target = neighbours
    urls = await new_database("order")
    service = Service(urls, target)
    try:
        await service.start()
        await _apply(service)
        if kind == "delivery":
            delivery.script = lambda item: None
        order_id = (await _ask(service, _new(notify_url=inbox.url))).order.order_id
        await _brought_to(kind, urls.owner, service, delivery, order_id)
        (item,) = await _waiting(service, kind)
        await service.kill()
        await service.start(f"{fault}:exit")
        with pytest.raises(grpc.RpcError):
            await _decide(service, item, "li")
        assert await service.ended() == 137
        await service.start()
        done = await _decide(service, item, "li")
        assert (done.decision, done.by) == (WORDS[kind], "li")
        assert (await _decide(service, item, "wang")).by == "li"
        assert await _waiting(service, kind) == []
    finally:
        await service.kill()
    owner = Database(urls.owner)
    async with owner.begin() as db:
        subject = "shoudan.events.order.work.decided"
        rows = await db.execute(
            text("SELECT text FROM event WHERE subject = :subject"), {"subject": subject}
        )
        assert [row.text for row in rows] == [f"{kind} {item.key}: {WORDS[kind]}, li: they say so"]
    await owner.dispose()


async def _brought_to(
    kind: str, owner_url: str, service: Service, delivery: FakeDelivery, order_id: int
) -> None:
    """The order to where an item of this kind waits."""
    if kind == "delivery":
        await eventually(lambda: bool(delivery.sent))
    else:
        await _done(service, order_id)
    changes = {
        "delivery": (
            "UPDATE oms_order_info SET order_overtime = shoudan_now() - interval '1 s'",
            "UPDATE task SET next_execute_time = shoudan_now() WHERE name = 'order.overtime'",
        ),
        "parked_order": ("UPDATE oms_order_info SET parked_reason = 'left over'",),
        "notify": (
            "ALTER TABLE oms_notify_info DISABLE TRIGGER oms_notify_info_lifecycle",
            "UPDATE oms_notify_info SET given_up = true, notify_status = 20, end_time = NULL",
            "ALTER TABLE oms_notify_info ENABLE TRIGGER oms_notify_info_lifecycle",
        ),
    }
    owner = Database(owner_url)
    async with owner.begin() as db:
        for change in changes[kind]:
            await db.execute(text(change))
    await owner.dispose()

    async def waits() -> bool:
        return bool(await _waiting(service, kind))

    await eventually(waits, 20)


async def _waiting(service: Service, kind: str) -> list[work_pb.OpenWork]:
    async with aio.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        stub = work_grpc.WorkServiceStub(channel)
        return list((await stub.ListOpenWork(work_pb.ListOpenWorkRequest(kinds=[kind]))).items)


async def _decide(service: Service, item: work_pb.OpenWork, by: str) -> Any:
    request = work_pb.DecideWorkRequest(
        kind=item.kind, key=item.key, decision=WORDS[item.kind], by=by, reason="they say so"
    )
    async with aio.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        return await work_grpc.WorkServiceStub(channel).DecideWork(request)
