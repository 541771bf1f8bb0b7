"""Promises of lists and reports: every sum is the ledger's, every moment is the one that was asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shoudan.order.v1 import audit_service_pb2 as pb
from shoudan.order.v1 import order_service_pb2 as order_pb
from tests.order.test_refunds import MANDATORY, ask, delivered, ends, returns_end
from tests.order.world import YUAN, World
from tests.poll import eventually

Kind = pb.ReportRequest.Kind


@pytest.fixture(params=["Asia/Shanghai", "America/Los_Angeles"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The host's time zone, whatever it was."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


async def report(world: World, kind: Kind.ValueType, start: datetime, end: datetime) -> list[Any]:
    """The lines of one report."""
    request = pb.ReportRequest(kind=kind)
    request.start_time.FromDatetime(start)
    request.end_time.FromDatetime(end)
    return [line async for line in world.audits.Report(request)]


async def test_the_report_by_supplier_is_the_ledgers_with_returns_apart(world: World) -> None:
    world.delivery.script = returns_end(True)
    kept, back, lost = [await delivered(world) for _ in range(3)]
    await ask(world, back, "f1")
    await ends(world, back, "f1", 0)
    await ask(world, lost, "m1", kind=MANDATORY)
    await ends(world, lost, "m1", 0)
    audit = await world.audits.RequestAudit(
        pb.RequestAuditRequest(
            type=pb.AUDIT_TYPE_FALSE_SUCCESS,
            id=kept.deliveries[0].delivery_id,
            by="ops",
            reason="no card",
        )
    )
    await world.audits.DecideAudit(
        pb.DecideAuditRequest(audit_id=audit.audit.audit_id, status=0, by="ops", reason="no card")
    )

    async def paid_back() -> bool:
        return world.ledger.of("up_channel", "ycup") == -160 * YUAN

    await eventually(paid_back)
    now = datetime.now(UTC)
    (line,) = await report(
        world, Kind.KIND_UP_CHANNEL, now - timedelta(days=1), now + timedelta(days=1)
    )
    sums = line.sums_micros
    assert (line.count, line.labels["up_channel_no"]) == (3, "ycup")
    assert sums["gross_cost_amount_micros"] == 480 * YUAN
    assert sums["returned_cost_amount_micros"] == 320 * YUAN
    assert sums["cost_amount_micros"] == -world.ledger.of("up_channel", "ycup")
    for name, groups in (
        ("up_commission_amount_micros", "up_commission"),
        ("service_amount_micros", "up_service"),
    ):
        assert sums[name] == world.ledger.of(groups, "ycup")
        assert sums[name] == sums[f"gross_{name}"] - sums[f"returned_{name}"]


async def test_orders_are_listed_by_the_moment_asked_for_in_any_time_zone_of_the_host(
    world: World, zone: str
) -> None:
    order = await delivered(world)
    now = datetime.now(UTC)

    async def listed(start: datetime, end: datetime) -> list[int]:
        request = order_pb.ListOrdersRequest()
        request.start_time.FromDatetime(start)
        request.end_time.FromDatetime(end)
        return [o.state.order_id for o in (await world.orders.ListOrders(request)).orders]

    minute, number = timedelta(minutes=1), order.state.order_id
    assert await listed(now - minute, now + minute) == [number], zone
    assert await listed(now - timedelta(hours=9), now - minute) == []
    assert await listed(now + minute, now + timedelta(hours=9)) == []
