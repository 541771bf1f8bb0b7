"""Promises of an order in trouble: other suppliers, overtime, unknown ends, contradictions, no money."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import make_url, text

from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_kit.embedded import Postgres
from tests.order.harness import YUAN, OrderHarness, catalogue_pb, down_product, up_product
from tests.poll import eventually


async def second_supplier(harness: OrderHarness, **product: Any) -> None:
    """A dearer supplier `second`."""
    await harness.apply(
        up_channels=[
            catalogue_pb.UpChannel(channel_no="second", channel_name="其次", enabled=True)
        ],
        up_shelves=[
            catalogue_pb.UpShelf(
                shelf_id=2,
                shelf_name="二",
                channel_no="second",
                delivery_overtime_s=300,
                return_overtime_s=300,
                enabled=True,
            )
        ],
        up_products=[
            up_product(**{"product_id": 301, "shelf_id": 2, "cost_discount_ppm": 850_000} | product)
        ],
    )


async def reaches(harness: OrderHarness, order_id: int, status: int) -> pb.Order:
    """The order once it has this status."""

    async def there() -> bool:
        return (await harness.get(order_id)).state.status == status

    await eventually(there)
    return await harness.get(order_id)


async def time_out(harness: OrderHarness, order_id: int) -> None:
    """Let the order's time be over now."""
    await harness.sql(
        "UPDATE oms_order_info SET order_overtime = shoudan_now() - interval '1 s'"
        " WHERE order_id = :id",
        id=order_id,
    )
    await harness.sql(
        "UPDATE task SET next_execute_time = shoudan_now() WHERE order_no = :no"
        " AND name = 'order.overtime'",
        no=str(order_id),
    )


async def test_a_failed_delivery_goes_to_the_next_supplier(harness: OrderHarness) -> None:
    await second_supplier(harness)
    harness.delivery.script = lambda item: item.channel_no == "second"
    order = await reaches(harness, await harness.order(), 0)
    assert [d.up_channel_no for d in order.deliveries] == ["ycup", "second"]
    assert [d.delivery_status for d in order.deliveries] == [90, 0]
    assert order.bind_face_micros == order.success_face_micros == 200 * YUAN


async def test_a_refused_hand_over_goes_to_the_next_supplier(harness: OrderHarness) -> None:
    await second_supplier(harness)
    harness.delivery.script = lambda item: (
        True if item.channel_no == "second" else "ERROR_REASON_CHANNEL_UNAVAILABLE"
    )
    order = await reaches(harness, await harness.order(), 0)
    assert [d.delivery_status for d in order.deliveries] == [90, 0]


async def test_an_order_nobody_delivers_fails_at_overtime_and_gets_its_money_back(
    harness: OrderHarness,
) -> None:
    harness.delivery.script = lambda item: False
    order_id = await harness.order(notify_url=harness.inbox.url)

    async def failed_once() -> bool:
        order = await harness.get(order_id)
        return [d.delivery_status for d in order.deliveries] == [90]

    await eventually(failed_once)
    await time_out(harness, order_id)

    async def refunded() -> bool:
        order = await harness.get(order_id)
        return order.refund_status == 0 and order.notify_status == 0

    await eventually(refunded)
    order = await harness.get(order_id)
    assert order.state.status == 90
    assert sum(harness.ledger.trades(str(order_id)).values()) == -sum(
        harness.ledger.trades(f"r{order_id}").values()
    )
    assert harness.ledger.of("down_channel", "test") == 0
    assert [told["status"] for told in harness.inbox.told] == [90]


async def test_a_split_order_is_delivered_in_parts(harness: OrderHarness) -> None:
    await harness.apply(
        down_products=[down_product(can_split_order=True, split_order_face_micros=100 * YUAN)],
        up_products=[up_product(face_micros=100 * YUAN)],
    )
    order = await reaches(harness, await harness.order(), 0)
    assert [d.face_micros for d in order.deliveries] == [100 * YUAN, 100 * YUAN]
    assert order.bind_face_micros == 200 * YUAN

    async def paid() -> bool:
        return (await harness.get(order.state.order_id)).up_paid

    await eventually(paid)


async def test_a_part_that_fails_at_overtime_leaves_the_order_partial(
    harness: OrderHarness,
) -> None:
    await harness.apply(
        down_products=[down_product(can_split_order=True, split_order_face_micros=100 * YUAN)],
        up_products=[up_product(face_micros=100 * YUAN)],
    )
    ends = iter([True, False])
    harness.delivery.script = lambda item: next(ends, False)
    order_id = await harness.order(notify_url=harness.inbox.url)

    async def half() -> bool:
        order = await harness.get(order_id)
        return order.success_face_micros == 100 * YUAN == order.bind_face_micros

    await eventually(half)
    await time_out(harness, order_id)
    order = await reaches(harness, order_id, 91)

    async def refunded() -> bool:
        return (await harness.get(order_id)).refund_status == 0

    await eventually(refunded)
    assert harness.ledger.trades(f"r{order_id}") == {
        "down_channel": 90 * YUAN,
        "down_commission": -2 * YUAN,
        "down_service": 1 * YUAN,
    }
    assert order.profit_micros == 10_050_000


async def test_a_parked_order_does_not_end_by_its_last_part_after_its_overtime(
    harness: OrderHarness,
) -> None:
    await harness.apply(
        down_products=[down_product(can_split_order=True, split_order_face_micros=100 * YUAN)],
        up_products=[up_product(face_micros=100 * YUAN)],
    )
    ends = iter([True, None])
    harness.delivery.script = lambda item: next(ends, None)
    order_id = await harness.order()

    async def half() -> bool:
        order = await harness.get(order_id)
        return order.success_face_micros == 100 * YUAN and len(harness.delivery.sent) == 2

    await eventually(half)
    statuses = {d.delivery_id: d.delivery_status for d in (await harness.get(order_id)).deliveries}
    (good,) = [number for number, status in statuses.items() if status == 0]
    (open_,) = [number for number, status in statuses.items() if status != 0]
    (ack,) = await harness.report(pb.DeliveryResult(id=good, succeeded=False, result_desc="late"))
    assert ack.conflict
    await harness.sql(
        "DELETE FROM task WHERE name = 'order.overtime'"
    )  # the part's end comes first
    await time_out(harness, order_id)
    (ack,) = await harness.report(pb.DeliveryResult(id=open_, succeeded=False, result_desc="no"))
    assert ack.applied
    order = await harness.get(order_id)
    assert (order.state.status, order.success_face_micros) == (20, 100 * YUAN)
    assert "now reported as failed" in order.parked_reason


async def test_an_unknown_delivery_is_left_to_a_person_and_a_late_end_still_counts(
    harness: OrderHarness,
) -> None:
    harness.delivery.script = lambda item: None
    order_id = await harness.order()

    async def sent() -> bool:
        return bool(harness.delivery.sent)

    await eventually(sent)
    await time_out(harness, order_id)

    async def parked() -> bool:
        return "unknown" in (await harness.get(order_id)).parked_reason

    await eventually(parked)
    order = await harness.get(order_id)
    assert order.state.status == 20
    (ack,) = await harness.report(
        pb.DeliveryResult(id=order.deliveries[0].delivery_id, succeeded=True)
    )
    assert ack.applied
    assert (await harness.get(order_id)).state.status == 0


async def test_a_contradictory_result_is_parked_and_changes_nothing(harness: OrderHarness) -> None:
    order = await reaches(harness, await harness.order(), 0)
    number = order.deliveries[0].delivery_id
    failed = pb.DeliveryResult(id=number, succeeded=False, result_desc="late")
    for _ in range(2):
        (ack,) = await harness.report(failed)
        assert (ack.applied, ack.conflict) == (False, True)
    (ack,) = await harness.report(pb.DeliveryResult(id=number, succeeded=True))
    assert (ack.applied, ack.conflict) == (False, False)
    after = await harness.get(order.state.order_id)
    assert after.state.status == 0
    assert "now reported as failed" in after.parked_reason


async def test_too_little_balance_waits_for_money(harness: OrderHarness) -> None:
    harness.ledger.limits["test"] = 0
    order_id = await harness.order()

    async def tried() -> bool:
        return harness.ledger.calls > 0

    await eventually(tried)
    assert (await harness.get(order_id)).state.status == 10
    harness.ledger.limits["test"] = 1_000 * YUAN
    async with harness.process.app.db.begin() as db:
        await eventually_due(db)
    await reaches(harness, order_id, 0)


async def eventually_due(db: Any) -> None:
    """Make the waiting payment due."""

    async def moved() -> bool:
        done = await db.execute(
            text(
                "UPDATE task SET next_execute_time = shoudan_now()"
                " WHERE name = 'order.pay' AND status = 20"
            )
        )
        return done.rowcount > 0

    await eventually(moved)


async def test_a_fail_fast_shelf_fails_at_once_with_904(harness: OrderHarness) -> None:
    await harness.apply(
        down_shelves=[
            catalogue_pb.DownShelf(
                shelf_id=1,
                shelf_name="快",
                channel_no="test",
                order_overtime_s=600,
                refund_overtime_s=600,
                enabled=True,
                pay_fail_fast=True,
            )
        ]
    )
    harness.ledger.limits["test"] = 0
    order = await reaches(harness, await harness.order(notify_url=harness.inbox.url), 90)
    assert order.state.fail_code == "904"

    async def closed() -> bool:
        return (await harness.get(order.state.order_id)).refund_status == 99

    # A try before this one may not have been answered: its debit's key is voided, like at the overtime.
    await eventually(closed)
    assert set(harness.ledger.posted.values()) == {0}


async def test_an_unpaid_order_at_overtime_voids_its_debit(harness: OrderHarness) -> None:
    harness.ledger.limits["test"] = 0
    order_id = await harness.order()

    async def tried() -> bool:
        """Refused, and written down to be tried again: with that its order's task is due at the overtime."""
        waits = "SELECT count(*) FROM task WHERE order_no = :no AND name = 'order.pay'"
        found = await harness.sql(waits, no=str(order_id))
        return harness.ledger.calls > 0 and found[0][0] == 1

    await eventually(tried)
    await time_out(harness, order_id)

    async def closed() -> bool:
        return (await harness.get(order_id)).refund_status == 99

    await eventually(closed)
    order = await harness.get(order_id)
    assert (order.state.status, order.payment_status) == (90, 90)
    assert set(harness.ledger.posted.values()) == {0}


async def test_a_debit_that_comes_after_the_overtime_delivers_nothing_and_goes_back(
    harness: OrderHarness,
) -> None:
    """The overtime's own step may come later than the overtime: until then nothing may be delivered."""
    harness.ledger.held = asyncio.Event()
    order_id = await harness.order()
    await eventually(lambda: harness.ledger.calls > 0)
    await harness.sql(
        "UPDATE oms_order_info SET order_overtime = shoudan_now() - interval '1 s'"
        " WHERE order_id = :id",
        id=order_id,
    )
    harness.ledger.held.set()

    async def over() -> bool:
        return not await harness.sql("SELECT 1 FROM task WHERE name = 'order.pay' AND status < 90")

    await eventually(lambda: bool(harness.ledger.posted))
    await eventually(over)
    assert (await harness.get(order_id)).state.status == 10
    await time_out(harness, order_id)

    async def given_back() -> bool:
        order = await harness.get(order_id)
        return (order.state.status, order.refund_status) == (90, 0)

    await eventually(given_back)
    assert harness.ledger.of("down_channel", "test") == 0
    assert harness.delivery.sent == []


# The connection that writes down the first attempt is cut while it does.
CUT = """
CREATE SEQUENCE cut;
GRANT USAGE ON SEQUENCE cut TO PUBLIC;
CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('public.cut') = 1 THEN
        PERFORM pg_terminate_backend(pg_backend_pid());
        PERFORM pg_sleep(1);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cut BEFORE INSERT ON oms_notify_attempt FOR EACH ROW EXECUTE FUNCTION cut();
"""


@pytest.mark.parametrize("status", [200, 500])
async def test_a_database_lost_while_a_notify_is_noted_costs_no_second_one(
    harness: OrderHarness, postgres: Postgres, status: int
) -> None:
    async with postgres.admin(make_url(harness.owner_url).database) as db:
        await db.execute(CUT)
    harness.inbox.answer = lambda told: (status, "success")
    order_id = await harness.order(notify_url=harness.inbox.url)

    async def noted() -> bool:
        order = await harness.get(order_id)
        return bool(order.notifies and order.notifies[0].notify_count)

    await eventually(noted, 20)
    order = await harness.get(order_id)
    wanted = (0, 0) if status == 200 else (30, 20)
    assert (order.notify_status, order.notifies[0].notify_status) == wanted
    assert order.notifies[0].notify_count == len(harness.inbox.told) == 1
    assert len(await harness.sql("SELECT 1 FROM oms_notify_attempt")) == 1


async def test_a_query_answers_a_running_notify(harness: OrderHarness) -> None:
    harness.inbox.answer = lambda told: (500, "later")
    order_id = await harness.order(notify_url=harness.inbox.url)

    async def tried() -> bool:
        order = await harness.get(order_id)
        return bool(order.notifies and order.notifies[0].notify_count)

    await eventually(tried)
    order = await harness.get(order_id)
    key = pb.OrderKey(channel_no="test", request_no=order.state.request_no)
    answer = await harness.orders.QueryOrders(pb.QueryOrdersRequest(keys=[key]))
    assert answer.results[0].order.status == 0
    after = await harness.get(order_id)
    assert (after.notify_status, after.notifies[0].notify_status) == (100, 100)


async def test_a_task_whose_unpaid_order_ended_is_finished_and_none_is_dead(
    harness: OrderHarness,
) -> None:
    harness.ledger.limits["test"] = 0
    order_id = await harness.order()

    async def refused() -> bool:
        return bool(
            await harness.sql("SELECT 1 FROM task WHERE name = 'order.pay' AND last_error <> ''")
        )

    await eventually(refused)
    await time_out(harness, order_id)
    await reaches(harness, order_id, 90)
    await harness.sql("UPDATE task SET next_execute_time = shoudan_now() WHERE name = 'order.pay'")

    async def gone() -> bool:
        return not await harness.sql("SELECT 1 FROM task WHERE name = 'order.pay'")

    await eventually(gone)
    assert not await harness.sql("SELECT 1 FROM task WHERE status = 90")


async def test_a_top_up_before_the_overtime_pays_the_order(harness: OrderHarness) -> None:
    harness.ledger.limits["test"] = 0
    order_id = await harness.order()

    async def refused() -> bool:
        return bool(
            await harness.sql("SELECT 1 FROM task WHERE name = 'order.pay' AND last_error <> ''")
        )

    await eventually(refused)
    # Nine of its ten minutes are over.
    await harness.sql("UPDATE oms_order_info SET order_overtime = shoudan_now() + interval '15 s'")
    await harness.sql(
        "UPDATE task SET next_execute_time = shoudan_now(),"
        " max_execute_time = max_execute_time - interval '9 min' WHERE name = 'order.pay'"
    )

    async def last_try() -> bool:
        """It comes again before the overtime, not after its usual 30 s."""
        return bool(
            await harness.sql(
                "SELECT 1 FROM task t, oms_order_info o WHERE t.name = 'order.pay'"
                " AND t.status = 20 AND t.count > 1 AND t.next_execute_time < o.order_overtime"
            )
        )

    await eventually(last_try)
    del harness.ledger.limits["test"]
    await harness.sql("UPDATE task SET next_execute_time = shoudan_now() WHERE name = 'order.pay'")
    await reaches(harness, order_id, 0)
