"""What a supplier states: its cost reaches the ledger only while it is believable, 运营商流水号 is kept."""

from __future__ import annotations

from typing import Any

import pytest

from shoudan.order.v1 import audit_service_pb2 as audit_pb
from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_order.costs import booked
from shoudan_order.delivery_client import Outcome
from tests.order.harness import YUAN, OrderHarness, catalogue_pb
from tests.poll import eventually

AGREED = 160 * YUAN  # face 200 at 0.8


async def up_paid(harness: OrderHarness, order_id: int) -> Any:
    """The delivery of an order once its supplier has been paid."""

    async def paid() -> bool:
        return [d.up_payment_status for d in (await harness.get(order_id)).deliveries] == [0]

    await eventually(paid)
    (row,) = await harness.sql(
        "SELECT delivery_id, cost_amount_micros AS cost, courier_cost_amount_micros AS stated"
        " FROM oms_order_delivery WHERE order_id = :id",
        id=order_id,
    )
    return row


def posted(harness: OrderHarness, delivery_id: int) -> int:
    """What the ledger moved for the goods of a delivery."""
    return min(harness.ledger.trades(str(delivery_id)).values())


async def waiting_audits(harness: OrderHarness, order_id: int) -> list[str]:
    rows = await harness.sql(
        "SELECT audit_msg FROM oms_audit_info WHERE order_id = :id AND audit_status = 20",
        id=order_id,
    )
    return [row.audit_msg for row in rows]


async def test_a_cost_learnt_by_asking_is_booked_like_one_that_was_reported(
    harness: OrderHarness,
) -> None:
    harness.delivery.params = {"cost_amount": "150.5"}
    order_id = await harness.order()
    row = await up_paid(harness, order_id)
    assert (row.cost, row.stated) == (150_500_000, 150_500_000)
    assert posted(harness, row.delivery_id) == -150_500_000
    assert not await waiting_audits(harness, order_id)


async def test_the_carriers_number_is_required_kept_and_shown(harness: OrderHarness) -> None:
    before = await harness.order()
    await up_paid(harness, before)
    facts = {"line_id": 1, "line_name": "加油卡", "service_class": 10}
    await harness.apply(lines=[catalogue_pb.Line(**facts, require_carrier_serial=True)])
    harness.delivery.params = {"carrier_serial_no": "CMCC20261130"}
    order_id = await harness.order()
    await up_paid(harness, order_id)
    asked = ["require_carrier_serial" in one.params for one in harness.delivery.sent]
    assert asked == [False, True]
    (none,) = (await harness.get(before)).deliveries
    (part,) = (await harness.get(order_id)).deliveries
    assert (none.carrier_serial_no, part.carrier_serial_no) == ("", "CMCC20261130")


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        ("99999999", "99999999 for the agreed 160"),
        ("161.60001", "161.60001 for the agreed 160"),
        ("-1", "negative"),
        ("1e9", "unreadable"),
        ("150,5", "unreadable"),
    ],
)
async def test_an_unbelievable_cost_is_not_booked_and_a_person_is_asked(
    harness: OrderHarness, stated: str, why: str
) -> None:
    harness.delivery.params = {"cost_amount": stated}
    order_id = await harness.order()
    row = await up_paid(harness, order_id)
    assert (row.cost, row.stated) == (AGREED, 0)
    assert posted(harness, row.delivery_id) == -AGREED
    (asked,) = await waiting_audits(harness, order_id)
    assert why in asked
    (incident,) = await harness.sql(
        "SELECT text FROM event WHERE subject LIKE '%.cost_refused' AND key = :key",
        key=str(order_id),
    )
    assert why in incident.text
    order = await harness.get(order_id)
    assert (order.state.status, order.parked_reason) == (0, "")


async def test_an_unbelievable_cost_that_is_reported_is_not_booked_either(
    harness: OrderHarness,
) -> None:
    harness.delivery.script = lambda item: None
    order_id = await harness.order()
    await eventually(lambda: bool(harness.delivery.sent))
    number = int(harness.delivery.sent[0].key.coop_order_id)
    result = pb.DeliveryResult(id=number, succeeded=True, cost_amount_micros=99_999_999 * YUAN)
    for _ in range(2):
        await harness.report(result)
    row = await up_paid(harness, order_id)
    assert (row.cost, posted(harness, number)) == (AGREED, -AGREED)
    (audit,) = await harness.sql(
        "SELECT audit_id FROM oms_audit_info WHERE order_id = :id", id=order_id
    )
    decision = audit_pb.DecideAuditRequest(
        audit_id=audit.audit_id, by="w", reason="credit note", status=0
    )
    await harness.audits.DecideAudit(decision)
    assert not await waiting_audits(harness, order_id)


@pytest.mark.parametrize(
    ("stated_micros", "micros"),
    [
        (None, AGREED),
        (0, 0),
        (AGREED, AGREED),
        (161_600_000, 161_600_000),
        (161_600_010, AGREED),
        (-10, AGREED),
        (1, AGREED),
        (2**63 - 1, AGREED),
    ],
)
def test_the_stated_cost_is_booked_up_to_its_bound(stated_micros: int | None, micros: int) -> None:
    found = booked(AGREED, Outcome(1, True, cost_amount_micros=stated_micros), 1_010_000)
    assert found.micros == micros
    assert bool(found.refused) == (stated_micros is not None and micros != stated_micros)
