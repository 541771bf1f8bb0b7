"""Promises of an order that goes well: paid once, bound cheapest, delivered, supplier paid, partner told."""

from __future__ import annotations

from shoudan.order.v1 import order_service_pb2 as pb
from tests.order.harness import YUAN, OrderHarness
from tests.poll import eventually


async def test_an_order_is_paid_delivered_paid_upstream_and_told(harness: OrderHarness) -> None:
    order_id = await harness.order(notify_url=harness.inbox.url)

    async def done() -> bool:
        order = await harness.get(order_id)
        return order.up_paid and order.notify_status == 0

    await eventually(done)
    order = await harness.get(order_id)
    assert order.state.status == pb.ORDER_STATUS_SUCCEEDED
    assert order.sell_amount_micros == 180 * YUAN
    # 180 - 4 + 2 - 0.9 - 160 + 2 + 1
    assert order.profit_micros == 20_100_000
    assert harness.ledger.trades(str(order_id)) == {
        "down_channel": -180 * YUAN,
        "down_commission": 4 * YUAN,
        "down_service": -2 * YUAN,
    }
    (delivery,) = order.deliveries
    assert harness.ledger.trades(str(delivery.delivery_id)) == {
        "up_channel": -160 * YUAN,
        "up_commission": 2 * YUAN,
        "up_service": 1 * YUAN,
    }
    assert harness.inbox.told == [
        {
            "channel_no": "test",
            "request_no": order.state.request_no,
            "order_id": str(order_id),
            "status": 0,
        }
    ]


async def test_a_repeated_request_gives_the_first_order(harness: OrderHarness) -> None:
    new = harness.new()
    first, again = await harness.create(new, new)
    (later,) = await harness.create(new)
    assert first.order.order_id == again.order.order_id == later.order.order_id
    assert (first.existed, again.existed, later.existed) == (False, True, True)


async def test_the_same_key_with_other_content_is_refused(harness: OrderHarness) -> None:
    new = harness.new()
    other = pb.NewOrder()
    other.CopyFrom(new)
    other.recharge_account = "another"
    first, second = await harness.create(new, other)
    assert first.HasField("order")
    assert second.refusal.reason == "ERROR_REASON_REQUEST_DIFFERS"
    (third,) = await harness.create(other)
    assert third.refusal.reason == "ERROR_REASON_REQUEST_DIFFERS"


async def test_a_result_at_another_replica_leaves_no_task_to_run_for_nothing(
    harness: OrderHarness,
) -> None:
    harness.delivery.script = lambda item: None
    order_id = await harness.order()
    await eventually(lambda: bool(harness.delivery.sent))
    harness.context.memory.drop([order_id])  # as in a process that did not take the order
    number = int(harness.delivery.sent[0].key.coop_order_id)
    waiting = (
        "SELECT name FROM task WHERE order_no = :no AND name IN ('order.deliver', 'order.overtime')"
    )
    assert [row.name for row in await harness.sql(waiting, no=str(order_id))] == ["order.overtime"]
    (ack,) = await harness.report(pb.DeliveryResult(id=number, succeeded=True))
    assert ack.applied
    assert not await harness.sql(waiting, no=str(order_id))
