"""Promises of audits and retries: a person's word ends what nobody knows, once, and is recorded."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from sqlalchemy import text

from shoudan.order.v1 import audit_service_pb2 as pb
from shoudan.order.v1 import audit_service_pb2_grpc as stubs
from shoudan_kit.refusal import refused_from_rpc
from tests.order.test_refunds import delivered
from tests.order.test_trouble import time_out
from tests.order.world import YUAN, World
from tests.poll import eventually


@pytest.fixture
async def audits(world: World) -> Any:
    """The audit calls of the world's service."""
    async with aio.insecure_channel(f"127.0.0.1:{world.process.port}") as channel:
        yield stubs.AuditServiceStub(channel)


async def waiting(audits: Any) -> list[pb.Audit]:
    """What waits."""
    return list((await audits.ListAudits(pb.ListAuditsRequest())).audits)


async def unknown(world: World, audits: Any) -> pb.Audit:
    """An audit of a delivery nobody knows about."""
    world.delivery.script = lambda item: None
    order_id = await world.order()

    async def sent() -> bool:
        return bool(world.delivery.sent)

    await eventually(sent)
    await time_out(world, order_id)

    async def asked() -> bool:
        return bool(await waiting(audits))

    await eventually(asked)
    return (await waiting(audits))[0]


@pytest.mark.parametrize(("decision", "status"), [(0, 0), (90, 90)])
async def test_a_person_ends_an_unknown_delivery(
    world: World, audits: Any, decision: int, status: int
) -> None:
    audit = await unknown(world, audits)
    request = pb.DecideAuditRequest(
        audit_id=audit.audit_id, status=decision, by="finance", reason="asked the supplier"
    )
    await audits.DecideAudit(request)
    order = await world.get(audit.order_id)
    assert (order.state.status, order.parked_reason) == (status, "")
    assert await waiting(audits) == []
    with pytest.raises(grpc.RpcError) as again:
        await audits.DecideAudit(request)
    refused = refused_from_rpc(again.value)
    assert refused is not None
    assert refused.reason == "ERROR_REASON_AUDIT_REFUSED"
    async with world.process.app.db.connect() as db:
        rows = await db.execute(
            text("SELECT operator, detail FROM oms_operation WHERE operation = 'audit.decide'")
        )
        assert [tuple(row) for row in rows] == [("finance", {"reason": "asked the supplier"})]


async def test_bug_06_a_false_success_takes_the_suppliers_money_back(
    world: World, audits: Any
) -> None:
    order = await delivered(world)
    asked = await audits.RequestAudit(
        pb.RequestAuditRequest(
            type=pb.AUDIT_TYPE_FALSE_SUCCESS,
            id=order.deliveries[0].delivery_id,
            by="ops",
            reason="the card is empty",
        )
    )
    await audits.DecideAudit(
        pb.DecideAuditRequest(audit_id=asked.audit.audit_id, status=0, by="ops", reason="yes")
    )

    async def back() -> bool:
        return world.ledger.of("up_channel", "ycup") == 0

    await eventually(back)
    after = await world.get(order.state.order_id)
    assert (after.state.status, after.profit_micros) == (0, 177_100_000)


async def test_dead_notifies_are_listed_and_sent_again_once(world: World, audits: Any) -> None:
    world.inbox.answer = lambda told: (500, "no")
    order_id = await world.order(notify_url=world.inbox.url)
    async with world.process.app.db.begin() as db:
        await db.execute(text("UPDATE oms_notify_info SET max_count = 1"))

    async def dead() -> list[Any]:
        answer = await audits.ListDeadNotifies(pb.ListDeadNotifiesRequest(channel_no="test"))
        return list(answer.notifies)

    await eventually(dead)
    assert [n.order_id for n in await dead()] == [order_id]
    world.inbox.answer = lambda told: (200, '{"data":"Success"}')
    request = pb.ResendNotifiesRequest(channel_no="test", by="ops")
    assert (await audits.ResendNotifies(request)).count == 1
    assert (await audits.ResendNotifies(request)).count == 0

    async def told() -> bool:
        return (await world.get(order_id)).notify_status == 0

    await eventually(told)


async def test_a_report_equals_the_orders(world: World, audits: Any) -> None:
    for _ in range(2):
        await delivered(world)
    start, end = Timestamp(), Timestamp()
    start.FromSeconds(0)
    end.FromSeconds(4_000_000_000)
    request = pb.ReportRequest(
        kind=pb.ReportRequest.KIND_DOWN_CHANNEL, start_time=start, end_time=end
    )
    lines = [line async for line in audits.Report(request)]
    assert [dict(line.labels) for line in lines] == [{"down_channel_no": "test"}]
    assert lines[0].sums_micros["profit_micros"] == 2 * 20_100_000
    request.kind = pb.ReportRequest.KIND_UP_CHANNEL
    lines = [line async for line in audits.Report(request)]
    assert lines[0].sums_micros["cost_amount_micros"] == 2 * 160 * YUAN
    request.kind = pb.ReportRequest.KIND_PROFIT
    assert [line.count async for line in audits.Report(request)] == [2]


async def test_a_step_is_retried_only_when_it_is_due(world: World, audits: Any) -> None:
    order = await delivered(world)
    request = pb.RetryStepRequest(
        step=pb.RetryStepRequest.STEP_UP_PAY,
        id=order.deliveries[0].delivery_id,
        by="ops",
        reason="to be sure",
    )
    assert (await audits.RetryStep(request)).task_id == 0
