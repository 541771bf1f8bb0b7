"""Promises of lists and reports: every sum is the ledger's, every moment is the one that was asked for."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shoudan.order.v1 import audit_service_pb2 as pb
from shoudan.order.v1 import order_service_pb2 as order_pb
from tests.order.harness import YUAN, OrderHarness
from tests.order.test_refunds import MANDATORY, ask, delivered, ends, returns_end
from tests.poll import eventually
from tests.test_plans import statements

Kind = pb.ReportRequest.Kind


@pytest.fixture(params=["Asia/Shanghai", "America/Los_Angeles"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The host's time zone, whatever it was."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


async def report(
    harness: OrderHarness, kind: Kind.ValueType, start: datetime, end: datetime
) -> list[Any]:
    """The lines of one report."""
    request = pb.ReportRequest(kind=kind)
    request.start_time.FromDatetime(start)
    request.end_time.FromDatetime(end)
    return [line async for line in harness.audits.Report(request)]


async def test_the_report_by_supplier_is_the_ledgers_with_returns_apart(
    harness: OrderHarness,
) -> None:
    harness.delivery.script = returns_end(True)
    kept, back, lost = [await delivered(harness) for _ in range(3)]
    await ask(harness, back, "f1")
    await ends(harness, back, "f1", 0)
    await ask(harness, lost, "m1", kind=MANDATORY)
    await ends(harness, lost, "m1", 0)
    audit = await harness.audits.RequestAudit(
        pb.RequestAuditRequest(
            type=pb.AUDIT_TYPE_FALSE_SUCCESS,
            id=kept.deliveries[0].delivery_id,
            by="ops",
            reason="no card",
        )
    )
    await harness.audits.DecideAudit(
        pb.DecideAuditRequest(audit_id=audit.audit.audit_id, status=0, by="ops", reason="no card")
    )

    async def paid_back() -> bool:
        return harness.ledger.of("up_channel", "ycup") == -160 * YUAN

    await eventually(paid_back)
    now = datetime.now(UTC)
    (line,) = await report(
        harness, Kind.KIND_UP_CHANNEL, now - timedelta(days=1), now + timedelta(days=1)
    )
    sums = line.sums_micros
    assert (line.count, line.labels["up_channel_no"]) == (3, "ycup")
    assert sums["gross_cost_amount_micros"] == 480 * YUAN
    assert sums["returned_cost_amount_micros"] == 320 * YUAN
    assert sums["cost_amount_micros"] == -harness.ledger.of("up_channel", "ycup")
    for name, groups in (
        ("up_commission_amount_micros", "up_commission"),
        ("service_amount_micros", "up_service"),
    ):
        assert sums[name] == harness.ledger.of(groups, "ycup")
        assert sums[name] == sums[f"gross_{name}"] - sums[f"returned_{name}"]


async def test_orders_are_listed_by_the_moment_asked_for_in_any_time_zone_of_the_host(
    harness: OrderHarness, zone: str
) -> None:
    order = await delivered(harness)
    now = datetime.now(UTC)

    async def listed(start: datetime, end: datetime) -> list[int]:
        request = order_pb.ListOrdersRequest()
        request.start_time.FromDatetime(start)
        request.end_time.FromDatetime(end)
        return [o.state.order_id for o in (await harness.orders.ListOrders(request)).orders]

    minute, number = timedelta(minutes=1), order.state.order_id
    assert await listed(now - minute, now + minute) == [number], zone
    assert await listed(now - timedelta(hours=9), now - minute) == []
    assert await listed(now + minute, now + timedelta(hours=9)) == []


async def sums_of(
    harness: OrderHarness, kind: Kind.ValueType, start: datetime, end: datetime
) -> dict[str, int]:
    """All lines of a report added up."""
    totals: dict[str, int] = {}
    for line in await report(harness, kind, start, end):
        for name, micros in line.sums_micros.items():
            totals[name] = totals.get(name, 0) + micros
    return totals


async def set_back(harness: OrderHarness, order_id: int) -> None:
    """What has ended of an order so far ended 40 days ago."""
    for table in ("oms_order_info", "oms_order_delivery", "oms_refund_info"):
        await harness.sql(
            f"UPDATE {table} SET create_time = create_time - interval '40 d',"
            " end_time = end_time - interval '40 d' WHERE order_id = :id",
            id=order_id,
        )


async def test_a_refund_leaves_a_closed_month_as_it_was_and_all_months_are_the_ledgers(
    harness: OrderHarness,
) -> None:
    harness.delivery.script = returns_end(True)
    order = await delivered(harness, num=2, amount_micros=2 * 180 * YUAN)
    await set_back(harness, order.state.order_id)
    now, day = datetime.now(UTC), timedelta(days=1)
    closed = {
        kind: await sums_of(harness, kind, now - 60 * day, now - 20 * day) for kind in (1, 2, 3)
    }
    assert closed[1] == closed[3]
    assert closed[1]["success_sell_amount_micros"] == 360 * YUAN
    for number, kind in enumerate((pb_general(), MANDATORY)):
        await ask(harness, order, f"f{number}", kind=kind)
        await ends(harness, order, f"f{number}", 0)
    assert closed == {
        kind: await sums_of(harness, kind, now - 60 * day, now - 20 * day) for kind in (1, 2, 3)
    }
    ever = {kind: await sums_of(harness, kind, now - 60 * day, now + day) for kind in (1, 2, 3)}
    after = await harness.get(order.state.order_id)
    assert ever[1] == ever[3]
    assert ever[1]["profit_micros"] == after.profit_micros
    assert ever[1]["gross_success_sell_amount_micros"] == 360 * YUAN
    assert ever[1]["returned_success_sell_amount_micros"] == 360 * YUAN
    for name, groups, sign in (
        ("success_sell_amount_micros", "down_channel", -1),
        ("success_commission_micros", "down_commission", 1),
        ("success_service_micros", "down_service", -1),
        ("success_cost_amount_micros", "up_channel", -1),
        ("success_up_commission_micros", "up_commission", 1),
        ("success_up_service_micros", "up_service", 1),
    ):
        eid = "test" if groups.startswith("down") else "ycup"
        assert ever[1][name] == sign * harness.ledger.of(groups, eid), name
    for name, groups, sign in (
        ("cost_amount_micros", "up_channel", -1),
        ("up_commission_amount_micros", "up_commission", 1),
        ("service_amount_micros", "up_service", 1),
    ):
        assert ever[2][name] == sign * harness.ledger.of(groups, "ycup"), name
    for kind, sums in ever.items():
        for name in [one.removeprefix("gross_") for one in sums if one.startswith("gross_")]:
            assert sums[name] == sums[f"gross_{name}"] - sums[f"returned_{name}"], (kind, name)


def pb_general() -> Any:
    """The kind of refund for which goods come back first."""
    return order_pb.REFUND_TYPE_GENERAL


async def test_an_order_and_a_refund_keep_the_moments_of_their_money(harness: OrderHarness) -> None:
    harness.delivery.script = returns_end(True)
    order = await delivered(harness)
    await ask(harness, order, "f1")
    await ends(harness, order, "f1", 0)
    (row,) = await harness.sql(
        "SELECT o.create_time <= o.pay_time AND o.pay_time <= o.end_time"
        " AND o.end_time < r.end_time AND r.end_time <= r.money_time"
        " AND r.end_time <= o.modify_time AND r.money_time <= r.modify_time"
        " AND o.money_time IS NULL AND d.end_time <= d.money_time AND u.end_time <= u.money_time"
        " AND o.order_overtime BETWEEN o.create_time + interval '599 s'"
        " AND o.create_time + interval '601 s'"
        " FROM oms_order_info o JOIN oms_refund_info r USING (order_id)"
        " JOIN oms_order_delivery d USING (order_id) JOIN oms_refund_up_return u USING (order_id)"
    )
    assert row[0]


def test_every_change_of_an_order_or_a_refund_sets_its_modify_time() -> None:
    found = {
        name: re.findall(
            r"UPDATE oms_(?:order|refund)_info(?! [or]? ?SET modify_time)[^,]*", one.text
        )
        for name, one in statements("order")
        if ".SEALED." not in name  # the same text under another key is no change
    }
    assert {name: texts for name, texts in found.items() if texts} == {}
    # Two transactions may commit in the other order than they began: the moment never goes back.
    assert (
        sum(
            len(
                re.findall(r"modify_time = greatest\(\w+\.modify_time, shoudan_now\(\)\)", one.text)
            )
            for _, one in statements("order")
        )
        > 12
    )
