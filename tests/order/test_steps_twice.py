"""Promises where a step of an order is there twice, as after a death that it outlived: it is done once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from shoudan_kit.tasks.kinds import Task
from shoudan_order import kinds, payments
from tests.order.harness import YUAN, OrderHarness
from tests.order.test_trouble import reaches
from tests.poll import eventually

TWICE = (1, 2)


async def test_an_order_whose_payment_is_there_twice_is_bound_and_delivered_once(
    harness: OrderHarness,
) -> None:
    harness.ledger.limits["test"] = -1
    order_id = await harness.order()
    await eventually(lambda: harness.ledger.calls > 0)
    harness.ledger.limits.clear()
    step, deadline = kinds.OrderStep(order_id), datetime.now(UTC) + timedelta(minutes=1)
    tasks = [
        Task(number, kinds.PAY, step, kinds.PAY.queue, str(order_id), 1, deadline)
        for number in TWICE
    ]
    await payments.pay(harness.context, tasks)
    await reaches(harness, order_id, 0)
    order = await harness.get(order_id)
    assert len(order.deliveries) == len(harness.delivery.sent) == 1
    assert harness.ledger.of("down_channel", "test") == -180 * YUAN
    told = await harness.sql(
        "SELECT count(*) FROM event WHERE key = :key AND subject LIKE '%.order.order.paid'",
        key=str(order_id),
    )
    assert told[0].count == 1
