"""Promises about suppliers that tell two ends: nothing more is bound, a person is asked once and ends it."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from sqlalchemy import text

from shoudan.order.v1 import audit_service_pb2 as audit_pb
from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_kit.rpc.refusal import refused_from_rpc
from tests.order.harness import YUAN, OrderHarness, down_product, up_product
from tests.order.test_refunds import ask, delivered, ends
from tests.order.test_trouble import reaches, second_supplier, time_out
from tests.poll import eventually

SALE = {"down_channel": -180 * YUAN, "down_commission": 4 * YUAN, "down_service": -2 * YUAN}


def result(number: int, *, succeeded: bool, **more: Any) -> pb.DeliveryResult:
    return pb.DeliveryResult(id=number, succeeded=succeeded, **more)


async def waiting(harness: OrderHarness) -> list[audit_pb.Audit]:
    return list((await harness.audits.ListAudits(audit_pb.ListAuditsRequest())).audits)


async def decide(harness: OrderHarness, audit_id: int, status: int) -> None:
    await harness.audits.DecideAudit(
        audit_pb.DecideAuditRequest(audit_id=audit_id, status=status, by="ops", reason="asked them")
    )


async def refusal_of(harness: OrderHarness, audit_id: int, status: int) -> str:
    with pytest.raises(grpc.RpcError) as raised:
        await decide(harness, audit_id, status)
    refused = refused_from_rpc(raised.value)
    assert refused is not None
    assert refused.reason == "ERROR_REASON_AUDIT_REFUSED"
    return refused.metadata["why"]


async def sent(harness: OrderHarness, count: int) -> list[int]:
    """The numbers of the deliveries handed over, once there are as many."""
    await eventually(lambda: len(harness.delivery.sent) >= count)
    return [int(item.key.coop_order_id) for item in harness.delivery.sent]


async def failed_then_delivered(harness: OrderHarness) -> tuple[int, int]:
    """An order whose only supplier fails and says later that it delivered; order and delivery."""
    harness.delivery.script = lambda item: None
    order_id = await harness.order()
    (number,) = await sent(harness, 1)
    await harness.report(result(number, succeeded=False, result_desc="refused"))
    (ack,) = await harness.report(result(number, succeeded=True))
    assert (ack.applied, ack.conflict) == (False, True)
    return order_id, number


async def test_after_a_contradiction_nothing_more_is_bound_and_one_person_is_asked_once(
    harness: OrderHarness,
) -> None:
    order_id, number = await failed_then_delivered(harness)
    await second_supplier(harness)
    for _ in range(3):
        await harness.report(result(number, succeeded=True))
    retry = audit_pb.RetryStepRequest(
        step=audit_pb.RetryStepRequest.STEP_BIND, id=order_id, by="ops", reason="impatience"
    )
    assert (await harness.audits.RetryStep(retry)).task_id == 0
    await harness.sql("UPDATE task SET next_execute_time = shoudan_now() WHERE name = 'order.bind'")

    async def no_bind_left() -> bool:
        return not await harness.sql("SELECT 1 FROM task WHERE name = 'order.bind'")

    await eventually(no_bind_left)
    order = await harness.get(order_id)
    assert (order.state.status, len(order.deliveries)) == (20, 1)
    assert "now reported as succeeded" in order.parked_reason
    assert [audit.delivery_id for audit in await waiting(harness)] == [number]


async def test_both_ends_in_one_report_are_a_contradiction_too(harness: OrderHarness) -> None:
    harness.delivery.script = lambda item: None
    order_id = await harness.order()
    (number,) = await sent(harness, 1)
    acks = await harness.report(result(number, succeeded=False), result(number, succeeded=True))
    assert [ack.conflict for ack in acks] == [True, True]
    order = await harness.get(order_id)
    assert (order.state.status, len(order.deliveries)) == (20, 1)
    assert order.parked_reason
    assert len(await waiting(harness)) == 1


def against(number: int, *, succeeded: bool, is_return: bool = False) -> pb.DeliveryResult:
    """A word against the end told before."""
    return pb.DeliveryResult(id=number, succeeded=succeeded, is_return=is_return, contradicts=True)


@pytest.mark.parametrize("first", [True, False])
async def test_a_contradiction_that_overtakes_the_first_end_ends_it_as_the_first(
    harness: OrderHarness, *, first: bool
) -> None:
    harness.delivery.script = lambda item: None
    order_id = await harness.order()
    (number,) = await sent(harness, 1)
    (ack,) = await harness.report(against(number, succeeded=not first))
    assert (ack.applied, ack.conflict) == (True, True)
    (ack,) = await harness.report(result(number, succeeded=first))
    assert (ack.applied, ack.conflict) == (False, False)
    order = await harness.get(order_id)
    assert order.deliveries[0].delivery_status == (0 if first else 90)
    assert order.state.status == (0 if first else 20)
    assert len(await waiting(harness)) == 1


async def test_what_stands_and_the_word_against_it_come_in_one_report(
    harness: OrderHarness,
) -> None:
    harness.delivery.script = lambda item: None
    order_id = await harness.order()
    (number,) = await sent(harness, 1)
    stands = result(number, succeeded=True, up_order_no="UP-1", result_code="R_0000")
    acks = await harness.report(stands, against(number, succeeded=False))
    assert {(ack.applied, ack.conflict) for ack in acks} == {(True, True)}
    order = await harness.get(order_id)
    assert (order.state.status, order.deliveries[0].delivery_status) == (0, 0)
    (row,) = await harness.sql("SELECT up_delivery_no FROM oms_order_delivery")
    assert row.up_delivery_no == "UP-1"
    (audit,) = await waiting(harness)
    assert audit.type == audit_pb.AUDIT_TYPE_FALSE_SUCCESS


async def test_a_contradiction_of_a_delivery_nobody_knows_is_acknowledged(
    harness: OrderHarness,
) -> None:
    (ack,) = await harness.report(against(77, succeeded=True))
    assert (ack.applied, ack.conflict) == (False, True)


async def test_an_audit_asked_for_while_another_is_decided_keeps_the_order_parked(
    harness: OrderHarness,
) -> None:
    """Both hold the order's lock: whoever unparks sees every audit that was asked for."""
    order_id, _ = await failed_then_delivered(harness)
    (audit,) = await waiting(harness)
    async with harness.process.app.db.begin() as other:
        lock = "SELECT 1 FROM oms_order_info WHERE order_id = :id FOR UPDATE"
        await other.execute(text(lock), {"id": order_id})
        deciding = asyncio.create_task(decide(harness, audit.audit_id, 90))

        async def waits() -> bool:
            sql = (
                "SELECT 1 FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            return bool(await harness.sql(sql))

        await eventually(waits)
        insert = (
            "INSERT INTO oms_audit_info (audit_id, order_id, refund_id, delivery_id, change_type, audit_msg)"
            " VALUES (7, :id, 9, 8, 2, 'a return told twice')"
        )
        await other.execute(text(insert), {"id": order_id})
    await deciding
    assert (await harness.get(order_id)).parked_reason != ""


async def test_an_operator_ends_a_contradicted_order_before_its_time(harness: OrderHarness) -> None:
    order_id, _ = await failed_then_delivered(harness)
    asked = await harness.audits.RequestAudit(
        audit_pb.RequestAuditRequest(
            type=audit_pb.AUDIT_TYPE_ORDER, id=order_id, by="ops", reason="give it back"
        )
    )
    number = asked.audit.audit_id
    assert "nothing" in await refusal_of(harness, number, 91)
    await decide(harness, number, 90)
    order = await reaches(harness, order_id, 90)
    assert order.parked_reason
    await eventually(lambda: harness.ledger.of("down_channel", "test") == 0)
    (audit,) = await waiting(harness)
    await decide(harness, audit.audit_id, 90)
    assert (await harness.get(order_id)).parked_reason == ""


async def test_a_cost_to_be_settled_holds_no_order_whose_contradiction_is_decided(
    harness: OrderHarness,
) -> None:
    harness.delivery.script = lambda item: None
    order_id = await harness.order()
    (number,) = await sent(harness, 1)
    dear = result(number, succeeded=True, cost_amount_micros=99_999 * YUAN)
    await harness.report(dear, against(number, succeeded=False))
    cost, conflict = sorted(await waiting(harness), key=lambda one: one.type)
    assert (cost.type, conflict.type) == (
        audit_pb.AUDIT_TYPE_DELIVERY,
        audit_pb.AUDIT_TYPE_FALSE_SUCCESS,
    )
    assert (await harness.get(order_id)).parked_reason
    await decide(harness, conflict.audit_id, 90)
    assert (await harness.get(order_id)).parked_reason == ""
    assert [audit.audit_id for audit in await waiting(harness)] == [cost.audit_id]


async def test_a_person_confirms_the_delivery_and_the_order_ends_delivered_and_paid(
    harness: OrderHarness,
) -> None:
    order_id, number = await failed_then_delivered(harness)
    (audit,) = await waiting(harness)
    await decide(harness, audit.audit_id, 0)
    order = await reaches(harness, order_id, 0)
    assert order.parked_reason == ""
    assert harness.ledger.trades(str(order_id)) == SALE

    async def paid() -> bool:
        return bool(harness.ledger.trades(str(number)))

    await eventually(paid)
    assert harness.ledger.trades(str(number))["up_channel"] == -160 * YUAN
    await harness.report(result(number, succeeded=True), result(number, succeeded=False))
    assert await waiting(harness) == []
    assert (await harness.get(order_id)).parked_reason == ""


async def test_a_person_lets_the_failure_stand_and_the_order_goes_to_another_supplier(
    harness: OrderHarness,
) -> None:
    order_id, _ = await failed_then_delivered(harness)
    await second_supplier(harness)
    (audit,) = await waiting(harness)
    harness.delivery.script = lambda item: True
    await decide(harness, audit.audit_id, 90)
    order = await reaches(harness, order_id, 0)
    assert [part.up_channel_no for part in order.deliveries] == ["ycup", "second"]


async def test_a_supplier_in_conflict_gets_nothing_more_of_that_order(
    harness: OrderHarness,
) -> None:
    order_id, _ = await failed_then_delivered(harness)
    (audit,) = await waiting(harness)
    await harness.sql("UPDATE oms_order_delivery SET end_time = shoudan_now() - interval '1 day'")
    await decide(harness, audit.audit_id, 90)
    tried = "SELECT 1 FROM task WHERE name = 'order.bind' AND count > 0 AND status = 20"
    await eventually(lambda: harness.sql(tried))
    assert len((await harness.get(order_id)).deliveries) == 1
    # Its time over, the order ends by itself and the money is back.
    await time_out(harness, order_id)
    await reaches(harness, order_id, 90)
    await eventually(lambda: harness.ledger.of("down_channel", "test") == 0)


async def test_two_suppliers_that_contradict_themselves_ask_twice_and_deliver_once_each(
    harness: OrderHarness,
) -> None:
    await second_supplier(harness)
    harness.delivery.script = lambda item: False
    order_id = await harness.order()
    numbers = await sent(harness, 2)

    async def both_failed() -> bool:
        return [part.delivery_status for part in (await harness.get(order_id)).deliveries] == [
            90,
            90,
        ]

    await eventually(both_failed)
    for number in numbers:
        await harness.report(result(number, succeeded=True))
    assert {audit.delivery_id for audit in await waiting(harness)} == set(numbers)
    first, second = await waiting(harness)
    await decide(harness, first.audit_id, 0)
    assert (await harness.get(order_id)).state.status == 0
    assert "posting" in await refusal_of(harness, second.audit_id, 0)
    await decide(harness, second.audit_id, 90)
    order = await harness.get(order_id)
    assert (order.state.status, order.parked_reason, len(order.deliveries)) == (0, "", 2)


@pytest.mark.parametrize("delivered_there", [True, False])
async def test_a_success_told_while_another_supplier_is_at_work_is_left_to_a_person(
    harness: OrderHarness, *, delivered_there: bool
) -> None:
    await second_supplier(harness)
    harness.delivery.script = lambda item: False if item.channel_no == "ycup" else None
    order_id = await harness.order()
    first, second = await sent(harness, 2)
    await harness.report(result(first, succeeded=True))
    assert (await harness.get(order_id)).parked_reason
    await harness.report(result(second, succeeded=delivered_there))
    (audit,) = await waiting(harness)
    assert audit.delivery_id == first
    if delivered_there:
        order = await reaches(harness, order_id, 0)
        assert "posting" in await refusal_of(harness, audit.audit_id, 0)
        await decide(harness, audit.audit_id, 90)
    else:  # nothing is bound for a third time; the person's word ends the order
        await decide(harness, audit.audit_id, 0)
        order = await reaches(harness, order_id, 0)
    order = await harness.get(order_id)
    ends = sorted(part.delivery_status for part in order.deliveries)
    assert (order.state.status, order.parked_reason, ends) == (0, "", [0, 90])
    assert harness.ledger.trades(str(order_id)) == SALE


async def test_an_order_in_conflict_is_not_failed_by_its_overtime(harness: OrderHarness) -> None:
    order_id, _ = await failed_then_delivered(harness)
    await time_out(harness, order_id)
    gone = "SELECT 1 FROM task WHERE name = 'order.overtime' AND order_no = :no"

    async def looked() -> bool:
        return not await harness.sql(gone, no=str(order_id))

    await eventually(looked)
    order = await harness.get(order_id)
    assert order.state.status == 20
    assert order.parked_reason
    (audit,) = await waiting(harness)
    await decide(harness, audit.audit_id, 90)
    await reaches(harness, order_id, 90)


async def test_a_success_told_after_the_money_went_back_is_left_to_a_person(
    harness: OrderHarness,
) -> None:
    harness.delivery.script = lambda item: False
    order_id = await harness.order()
    (number,) = await sent(harness, 1)

    async def failed() -> bool:
        return [part.delivery_status for part in (await harness.get(order_id)).deliveries] == [90]

    await eventually(failed)
    await time_out(harness, order_id)
    await reaches(harness, order_id, 90)
    await harness.report(result(number, succeeded=True))
    order = await harness.get(order_id)
    assert (order.state.status, "now reported as succeeded" in order.parked_reason) == (90, True)
    (audit,) = await waiting(harness)
    assert "posting" in await refusal_of(harness, audit.audit_id, 0)
    await decide(harness, audit.audit_id, 90)
    assert (await harness.get(order_id)).parked_reason == ""
    await eventually(lambda: harness.ledger.of("down_channel", "test") == 0)


async def test_a_failure_told_after_a_part_was_delivered_stops_the_other_parts(
    harness: OrderHarness,
) -> None:
    await harness.apply(
        down_products=[down_product(can_split_order=True, split_order_face_micros=100 * YUAN)],
        up_products=[up_product(face_micros=100 * YUAN)],
    )
    harness.delivery.script = lambda item: None
    order_id = await harness.order()
    first, second = await sent(harness, 2)
    await harness.report(result(first, succeeded=True))
    await harness.report(result(first, succeeded=False))
    await harness.report(result(second, succeeded=False))
    order = await harness.get(order_id)
    assert (order.state.status, len(order.deliveries)) == (20, 2)
    (audit,) = await waiting(harness)
    assert audit.type == audit_pb.AUDIT_TYPE_FALSE_SUCCESS


async def test_a_return_told_twice_differently_asks_a_person_once(harness: OrderHarness) -> None:
    order = await delivered(harness)
    harness.delivery.script = lambda item: None
    refund_id = (await ask(harness, order, "f1")).refund.refund_id
    returned = await one_return(harness, refund_id)
    await harness.report(result(returned, succeeded=False, is_return=True))
    await ends(harness, order, "f1", 90)
    for _ in range(2):
        (ack,) = await harness.report(result(returned, succeeded=True, is_return=True))
        assert ack.conflict
    (audit,) = await waiting(harness)
    assert (audit.type, audit.delivery_id) == (audit_pb.AUDIT_TYPE_RETURN, returned)
    # It may have succeeded: until the decision nothing more of the delivery goes back.
    assert (await ask(harness, order, "f2")).HasField("refusal")
    assert len(await harness.sql("SELECT 1 FROM oms_refund_up_return")) == 1
    assert "now reported as succeeded" in (await harness.get(order.state.order_id)).parked_reason
    await decide(harness, audit.audit_id, 90)
    await harness.report(against(returned, succeeded=True, is_return=True))
    assert await waiting(harness) == []
    assert not (await ask(harness, order, "f3")).HasField("refusal")


async def one_return(harness: OrderHarness, refund_id: int) -> int:
    rows: list[Any] = []

    async def there() -> bool:
        sql = "SELECT return_id FROM oms_refund_up_return WHERE refund_id = :id AND return_status = 30"
        rows[:] = await harness.sql(sql, id=refund_id)
        return bool(rows)

    await eventually(there)
    return rows[0][0]
