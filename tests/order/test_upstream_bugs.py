"""The bugs of the system this one follows stay out: one test each, by the numbers of oms-behaviour §3.10.

1 is in test_binding, 3 in test_refunds, 6 in test_audits, 15 in test_happy_path, 18 in test_trouble.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from sqlalchemy import text

from shoudan.order.v1 import audit_service_pb2 as audit_pb
from shoudan.order.v1 import audit_service_pb2_grpc as audit_stubs
from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_kit.db.pool import Database
from shoudan_order import kinds, returns
from shoudan_order.delivery_client import Outcome
from shoudan_order.store import endings as endings_store
from tests.order.harness import YUAN, OrderHarness, down_product, up_product
from tests.order.test_refunds import MANDATORY, ask, delivered, ends, returns_end
from tests.order.test_trouble import reaches, second_supplier, time_out
from tests.poll import eventually


async def run(harness: OrderHarness, sql: str, **binds: Any) -> list[Any]:
    """A statement on the service's database."""
    return await harness.sql(sql, **binds)


async def split_in_two(harness: OrderHarness) -> None:
    """Orders of 200 are delivered as two parts of 100."""
    await harness.apply(
        down_products=[down_product(can_split_order=True, split_order_face_micros=100 * YUAN)],
        up_products=[up_product(face_micros=100 * YUAN)],
    )


async def sent(harness: OrderHarness, count: int = 1) -> None:
    """Until so many deliveries were handed over."""

    async def there() -> bool:
        return len(harness.delivery.sent) >= count

    await eventually(there)


async def test_bug_02_suppliers_give_their_money_back(harness: OrderHarness) -> None:
    order = await delivered(harness)
    await ask(harness, order, "f1")
    await ends(harness, order, "f1", 0)
    groups = ("up_channel", "up_commission", "up_service")
    assert [harness.ledger.of(g, "ycup") for g in groups] == [0, 0, 0]


async def test_bug_04_a_delivery_never_sent_is_resolved_at_overtime(harness: OrderHarness) -> None:
    harness.delivery.script = lambda item: "ERROR_REASON_OVERLOADED"
    order_id = await harness.order()
    await reaches(harness, order_id, 20)
    await harness.forge("oms_order_delivery", "delivery_status = 20")
    await time_out(harness, order_id)
    order = await reaches(harness, order_id, 90)
    assert [d.delivery_status for d in order.deliveries] == [90]


async def test_bug_05_an_audited_failure_is_bound_elsewhere(harness: OrderHarness) -> None:
    harness.delivery.script = lambda item: None if item.channel_no == "ycup" else True
    order_id = await harness.order()
    await sent(harness)
    await second_supplier(harness)
    await time_out(harness, order_id)

    async def parked() -> bool:
        return bool((await harness.get(order_id)).parked_reason)

    await eventually(parked)
    await run(harness, "UPDATE oms_order_info SET order_overtime = shoudan_now() + interval '1 h'")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{harness.process.port}") as channel:
        audits = audit_stubs.AuditServiceStub(channel)
        (audit,) = (await audits.ListAudits(audit_pb.ListAuditsRequest())).audits
        await audits.DecideAudit(
            audit_pb.DecideAuditRequest(
                audit_id=audit.audit_id, status=90, by="ops", reason="never arrived"
            )
        )
    order = await reaches(harness, order_id, 0)
    assert [d.up_channel_no for d in order.deliveries] == ["ycup", "second"]


async def test_bug_07_the_notify_of_an_overtime_gets_all_its_tries(harness: OrderHarness) -> None:
    harness.ledger.limits["test"] = 0
    harness.inbox.answer = lambda told: (500, "later")
    order_id = await harness.order(notify_url=harness.inbox.url)
    await time_out(harness, order_id)

    async def tried() -> bool:
        return bool(harness.inbox.told and await tasks())

    async def tasks() -> list[Any]:
        wanted = "SELECT max_execute_time FROM task WHERE name = 'order.notify' AND count = 0"
        return await run(harness, wanted)

    await eventually(tried)
    ((deadline,),) = await tasks()
    assert deadline - datetime.now(UTC) > timedelta(days=1)


async def test_bug_08_two_payments_at_once_complete_the_order(harness: OrderHarness) -> None:
    await split_in_two(harness)
    harness.ledger.locked.add("ycup")
    order = await reaches(harness, await harness.order(), 0)
    one, two = (d.delivery_id for d in order.deliveries)
    database = harness.process.app.db
    async with database.begin() as first:
        await endings_store.advance_endings(first, [], {one: order.state.order_id})

        async def other() -> set[int]:
            async with database.begin() as second:
                return (
                    await endings_store.advance_endings(second, [], {two: order.state.order_id})
                )[1]

        waiting = asyncio.create_task(other())

        async def blocked() -> bool:
            return bool(await run(harness, "SELECT 1 FROM pg_locks WHERE NOT granted"))

        await eventually(blocked)
    assert await waiting == {two}
    assert (await harness.get(order.state.order_id)).up_paid


async def test_bug_09_a_supplier_is_paid_though_the_user_was_refunded(
    harness: OrderHarness,
) -> None:
    harness.ledger.locked.add("ycup")
    order = await reaches(harness, await harness.order(), 0)
    await ask(harness, order, "m1", kind=MANDATORY)
    await ends(harness, order, "m1", 0)
    harness.ledger.locked.clear()
    await run(
        harness, "UPDATE task SET next_execute_time = shoudan_now() WHERE name = 'order.up_pay'"
    )

    async def paid() -> bool:
        await run(harness, "UPDATE task SET next_execute_time = shoudan_now() WHERE status = 20")
        return (await harness.get(order.state.order_id)).up_paid

    await eventually(paid)
    assert harness.ledger.of("up_channel", "ycup") == -160 * YUAN


async def test_bug_10_service_classes_are_the_documented_ones(harness: OrderHarness) -> None:
    order = await delivered(harness)
    await ask(harness, order, "f1")
    await ends(harness, order, "f1", 0)
    assert [item.key.service_class for item in harness.delivery.sent] == [10, 21]


async def test_bug_11_an_unknown_return_closes_the_refund_only_with_the_others(
    harness: OrderHarness,
) -> None:
    await split_in_two(harness)
    harness.delivery.script = returns_end(None, None)
    order = await delivered(harness)
    await ask(harness, order, "f1")
    await sent(harness, 4)
    first, second = (int(i.key.coop_order_id) for i in harness.delivery.sent[2:])
    await returns.report(harness.context, [Outcome(first, True, True)])
    (row,) = await run(harness, "SELECT refund_status FROM oms_refund_info")
    assert row[0] == 10
    await returns.report(harness.context, [Outcome(second, True, True)])
    await ends(harness, order, "f1", 0)


async def test_bug_12_a_product_row_serialises_nothing(harness: OrderHarness) -> None:
    async with harness.process.app.db.begin() as db:
        await db.execute(text("SELECT product_id FROM oms_down_product FOR UPDATE"))
        await reaches(harness, await harness.order(), 0)


async def test_bug_13_a_task_that_cannot_be_written_leaves_no_order(harness: OrderHarness) -> None:
    owner = Database(harness.owner_url)
    async with owner.begin() as db:
        await db.execute(text("ALTER TABLE task ADD CONSTRAINT no CHECK (false) NOT VALID"))
    with pytest.raises(grpc.RpcError):
        await harness.create(harness.new())
    await owner.dispose()
    assert await run(harness, "SELECT order_id FROM oms_order_info") == []


async def test_bug_14_a_failed_refund_is_told_as_failed(harness: OrderHarness) -> None:
    harness.delivery.script = returns_end(False)
    order = await delivered(harness)
    await ask(harness, order, "f1")
    await ends(harness, order, "f1", 90)
    wanted = "SELECT subject FROM event WHERE subject LIKE '%.refund.%' ORDER BY event_id"
    rows = await run(harness, wanted)
    assert [row[0].rpartition(".")[2] for row in rows] == ["created", "failed", "notified"]


async def test_bug_16_overtime_leaves_no_task_that_loops(harness: OrderHarness) -> None:
    harness.delivery.script = lambda item: False
    order_id = await harness.order()

    async def failed() -> bool:
        return [d.delivery_status for d in (await harness.get(order_id)).deliveries] == [90]

    await eventually(failed)
    await time_out(harness, order_id)
    await reaches(harness, order_id, 90)

    async def gone() -> bool:
        return not await run(harness, "SELECT 1 FROM task WHERE name = 'order.overtime'")

    await eventually(gone)


async def test_bug_17_a_failed_notify_keeps_what_was_answered(harness: OrderHarness) -> None:
    harness.inbox.answer = lambda told: (503, "try later")
    order_id = await harness.order(notify_url=harness.inbox.url)

    async def tried() -> bool:
        notifies = (await harness.get(order_id)).notifies
        return bool(notifies and notifies[0].notify_count)

    await eventually(tried)
    (notify,) = (await harness.get(order_id)).notifies
    assert (notify.notify_status, notify.http_status, notify.notify_msg) == (20, 503, "try later")


async def test_a_repeated_pay_task_charges_once(harness: OrderHarness) -> None:
    order = await delivered(harness)
    number = order.state.order_id
    async with harness.process.app.work() as work:
        work.tasks.add(kinds.PAY, kinds.OrderStep(number), order_no=str(number))

    async def gone() -> bool:
        return not await run(harness, "SELECT 1 FROM task WHERE name = 'order.pay'")

    await eventually(gone)
    assert harness.ledger.of("down_channel", "test") == -180 * YUAN
    assert (await harness.get(number)).state.status == pb.ORDER_STATUS_SUCCEEDED
