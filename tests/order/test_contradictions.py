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
from tests.order.test_refunds import ask, delivered, ends
from tests.order.test_trouble import reaches, second_supplier, time_out
from tests.order.world import YUAN, World, down_product, up_product
from tests.poll import eventually

SALE = {"down_channel": -180 * YUAN, "down_commission": 4 * YUAN, "down_service": -2 * YUAN}


def result(number: int, *, succeeded: bool, **more: Any) -> pb.DeliveryResult:
    return pb.DeliveryResult(id=number, succeeded=succeeded, **more)


async def waiting(world: World) -> list[audit_pb.Audit]:
    return list((await world.audits.ListAudits(audit_pb.ListAuditsRequest())).audits)


async def decide(world: World, audit_id: int, status: int) -> None:
    await world.audits.DecideAudit(
        audit_pb.DecideAuditRequest(audit_id=audit_id, status=status, by="ops", reason="asked them")
    )


async def refusal_of(world: World, audit_id: int, status: int) -> str:
    with pytest.raises(grpc.RpcError) as raised:
        await decide(world, audit_id, status)
    refused = refused_from_rpc(raised.value)
    assert refused is not None
    assert refused.reason == "ERROR_REASON_AUDIT_REFUSED"
    return refused.metadata["why"]


async def sent(world: World, count: int) -> list[int]:
    """The numbers of the deliveries handed over, once there are as many."""
    await eventually(lambda: len(world.delivery.sent) >= count)
    return [int(item.key.coop_order_id) for item in world.delivery.sent]


async def failed_then_delivered(world: World) -> tuple[int, int]:
    """An order whose only supplier fails and says later that it delivered; order and delivery."""
    world.delivery.script = lambda item: None
    order_id = await world.order()
    (number,) = await sent(world, 1)
    await world.report(result(number, succeeded=False, result_desc="refused"))
    (ack,) = await world.report(result(number, succeeded=True))
    assert (ack.applied, ack.conflict) == (False, True)
    return order_id, number


async def test_after_a_contradiction_nothing_more_is_bound_and_one_person_is_asked_once(
    world: World,
) -> None:
    order_id, number = await failed_then_delivered(world)
    await second_supplier(world)
    for _ in range(3):
        await world.report(result(number, succeeded=True))
    retry = audit_pb.RetryStepRequest(
        step=audit_pb.RetryStepRequest.STEP_BIND, id=order_id, by="ops", reason="impatience"
    )
    assert (await world.audits.RetryStep(retry)).task_id == 0
    await world.sql("UPDATE task SET next_execute_time = shoudan_now() WHERE name = 'order.bind'")

    async def no_bind_left() -> bool:
        return not await world.sql("SELECT 1 FROM task WHERE name = 'order.bind'")

    await eventually(no_bind_left)
    order = await world.get(order_id)
    assert (order.state.status, len(order.deliveries)) == (20, 1)
    assert "now reported as succeeded" in order.parked_reason
    assert [audit.delivery_id for audit in await waiting(world)] == [number]


async def test_both_ends_in_one_report_are_a_contradiction_too(world: World) -> None:
    world.delivery.script = lambda item: None
    order_id = await world.order()
    (number,) = await sent(world, 1)
    acks = await world.report(result(number, succeeded=False), result(number, succeeded=True))
    assert [ack.conflict for ack in acks] == [True, True]
    order = await world.get(order_id)
    assert (order.state.status, len(order.deliveries)) == (20, 1)
    assert order.parked_reason
    assert len(await waiting(world)) == 1


def against(number: int, *, succeeded: bool, is_return: bool = False) -> pb.DeliveryResult:
    """A word against the end told before."""
    return pb.DeliveryResult(id=number, succeeded=succeeded, is_return=is_return, contradicts=True)


@pytest.mark.parametrize("first", [True, False])
async def test_a_contradiction_that_overtakes_the_first_end_ends_it_as_the_first(
    world: World, *, first: bool
) -> None:
    world.delivery.script = lambda item: None
    order_id = await world.order()
    (number,) = await sent(world, 1)
    (ack,) = await world.report(against(number, succeeded=not first))
    assert (ack.applied, ack.conflict) == (True, True)
    (ack,) = await world.report(result(number, succeeded=first))
    assert (ack.applied, ack.conflict) == (False, False)
    order = await world.get(order_id)
    assert order.deliveries[0].delivery_status == (0 if first else 90)
    assert order.state.status == (0 if first else 20)
    assert len(await waiting(world)) == 1


async def test_what_stands_and_the_word_against_it_come_in_one_report(world: World) -> None:
    world.delivery.script = lambda item: None
    order_id = await world.order()
    (number,) = await sent(world, 1)
    stands = result(number, succeeded=True, up_order_no="UP-1", result_code="R_0000")
    acks = await world.report(stands, against(number, succeeded=False))
    assert {(ack.applied, ack.conflict) for ack in acks} == {(True, True)}
    order = await world.get(order_id)
    assert (order.state.status, order.deliveries[0].delivery_status) == (0, 0)
    (row,) = await world.sql("SELECT up_delivery_no FROM oms_order_delivery")
    assert row.up_delivery_no == "UP-1"
    (audit,) = await waiting(world)
    assert audit.type == audit_pb.AUDIT_TYPE_FALSE_SUCCESS


async def test_a_contradiction_of_a_delivery_nobody_knows_is_acknowledged(world: World) -> None:
    (ack,) = await world.report(against(77, succeeded=True))
    assert (ack.applied, ack.conflict) == (False, True)


async def test_an_audit_asked_for_while_another_is_decided_keeps_the_order_parked(
    world: World,
) -> None:
    """Both hold the order's lock: whoever unparks sees every audit that was asked for."""
    order_id, _ = await failed_then_delivered(world)
    (audit,) = await waiting(world)
    async with world.process.app.db.begin() as other:
        lock = "SELECT 1 FROM oms_order_info WHERE order_id = :id FOR UPDATE"
        await other.execute(text(lock), {"id": order_id})
        deciding = asyncio.create_task(decide(world, audit.audit_id, 90))

        async def waits() -> bool:
            sql = (
                "SELECT 1 FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            return bool(await world.sql(sql))

        await eventually(waits)
        insert = (
            "INSERT INTO oms_audit_info (audit_id, order_id, refund_id, delivery_id, change_type, audit_msg)"
            " VALUES (7, :id, 9, 8, 2, 'a return told twice')"
        )
        await other.execute(text(insert), {"id": order_id})
    await deciding
    assert (await world.get(order_id)).parked_reason != ""


async def test_an_operator_ends_a_contradicted_order_before_its_time(world: World) -> None:
    order_id, _ = await failed_then_delivered(world)
    asked = await world.audits.RequestAudit(
        audit_pb.RequestAuditRequest(
            type=audit_pb.AUDIT_TYPE_ORDER, id=order_id, by="ops", reason="give it back"
        )
    )
    number = asked.audit.audit_id
    assert "nothing" in await refusal_of(world, number, 91)
    await decide(world, number, 90)
    order = await reaches(world, order_id, 90)
    assert order.parked_reason
    await eventually(lambda: world.ledger.of("down_channel", "test") == 0)
    (audit,) = await waiting(world)
    await decide(world, audit.audit_id, 90)
    assert (await world.get(order_id)).parked_reason == ""


async def test_a_cost_to_be_settled_holds_no_order_whose_contradiction_is_decided(
    world: World,
) -> None:
    world.delivery.script = lambda item: None
    order_id = await world.order()
    (number,) = await sent(world, 1)
    dear = result(number, succeeded=True, cost_amount_micros=99_999 * YUAN)
    await world.report(dear, against(number, succeeded=False))
    cost, conflict = sorted(await waiting(world), key=lambda one: one.type)
    assert (cost.type, conflict.type) == (
        audit_pb.AUDIT_TYPE_DELIVERY,
        audit_pb.AUDIT_TYPE_FALSE_SUCCESS,
    )
    assert (await world.get(order_id)).parked_reason
    await decide(world, conflict.audit_id, 90)
    assert (await world.get(order_id)).parked_reason == ""
    assert [audit.audit_id for audit in await waiting(world)] == [cost.audit_id]


async def test_a_person_confirms_the_delivery_and_the_order_ends_delivered_and_paid(
    world: World,
) -> None:
    order_id, number = await failed_then_delivered(world)
    (audit,) = await waiting(world)
    await decide(world, audit.audit_id, 0)
    order = await reaches(world, order_id, 0)
    assert order.parked_reason == ""
    assert world.ledger.trades(str(order_id)) == SALE

    async def paid() -> bool:
        return bool(world.ledger.trades(str(number)))

    await eventually(paid)
    assert world.ledger.trades(str(number))["up_channel"] == -160 * YUAN
    await world.report(result(number, succeeded=True), result(number, succeeded=False))
    assert await waiting(world) == []
    assert (await world.get(order_id)).parked_reason == ""


async def test_a_person_lets_the_failure_stand_and_the_order_goes_to_another_supplier(
    world: World,
) -> None:
    order_id, _ = await failed_then_delivered(world)
    await second_supplier(world)
    (audit,) = await waiting(world)
    world.delivery.script = lambda item: True
    await decide(world, audit.audit_id, 90)
    order = await reaches(world, order_id, 0)
    assert [part.up_channel_no for part in order.deliveries] == ["ycup", "second"]


async def test_a_supplier_in_conflict_gets_nothing_more_of_that_order(world: World) -> None:
    order_id, _ = await failed_then_delivered(world)
    (audit,) = await waiting(world)
    await world.sql("UPDATE oms_order_delivery SET end_time = shoudan_now() - interval '1 day'")
    await decide(world, audit.audit_id, 90)
    tried = "SELECT 1 FROM task WHERE name = 'order.bind' AND count > 0 AND status = 20"
    await eventually(lambda: world.sql(tried))
    assert len((await world.get(order_id)).deliveries) == 1
    # Its time over, the order ends by itself and the money is back.
    await time_out(world, order_id)
    await reaches(world, order_id, 90)
    await eventually(lambda: world.ledger.of("down_channel", "test") == 0)


async def test_two_suppliers_that_contradict_themselves_ask_twice_and_deliver_once_each(
    world: World,
) -> None:
    await second_supplier(world)
    world.delivery.script = lambda item: False
    order_id = await world.order()
    numbers = await sent(world, 2)

    async def both_failed() -> bool:
        return [part.delivery_status for part in (await world.get(order_id)).deliveries] == [90, 90]

    await eventually(both_failed)
    for number in numbers:
        await world.report(result(number, succeeded=True))
    assert {audit.delivery_id for audit in await waiting(world)} == set(numbers)
    first, second = await waiting(world)
    await decide(world, first.audit_id, 0)
    assert (await world.get(order_id)).state.status == 0
    assert "posting" in await refusal_of(world, second.audit_id, 0)
    await decide(world, second.audit_id, 90)
    order = await world.get(order_id)
    assert (order.state.status, order.parked_reason, len(order.deliveries)) == (0, "", 2)


@pytest.mark.parametrize("delivered_there", [True, False])
async def test_a_success_told_while_another_supplier_is_at_work_is_left_to_a_person(
    world: World, *, delivered_there: bool
) -> None:
    await second_supplier(world)
    world.delivery.script = lambda item: False if item.channel_no == "ycup" else None
    order_id = await world.order()
    first, second = await sent(world, 2)
    await world.report(result(first, succeeded=True))
    assert (await world.get(order_id)).parked_reason
    await world.report(result(second, succeeded=delivered_there))
    (audit,) = await waiting(world)
    assert audit.delivery_id == first
    if delivered_there:
        order = await reaches(world, order_id, 0)
        assert "posting" in await refusal_of(world, audit.audit_id, 0)
        await decide(world, audit.audit_id, 90)
    else:  # nothing is bound for a third time; the person's word ends the order
        await decide(world, audit.audit_id, 0)
        order = await reaches(world, order_id, 0)
    order = await world.get(order_id)
    ends = sorted(part.delivery_status for part in order.deliveries)
    assert (order.state.status, order.parked_reason, ends) == (0, "", [0, 90])
    assert world.ledger.trades(str(order_id)) == SALE


async def test_an_order_in_conflict_is_not_failed_by_its_overtime(world: World) -> None:
    order_id, _ = await failed_then_delivered(world)
    await time_out(world, order_id)
    gone = "SELECT 1 FROM task WHERE name = 'order.overtime' AND order_no = :no"

    async def looked() -> bool:
        return not await world.sql(gone, no=str(order_id))

    await eventually(looked)
    order = await world.get(order_id)
    assert order.state.status == 20
    assert order.parked_reason
    (audit,) = await waiting(world)
    await decide(world, audit.audit_id, 90)
    await reaches(world, order_id, 90)


async def test_a_success_told_after_the_money_went_back_is_left_to_a_person(world: World) -> None:
    world.delivery.script = lambda item: False
    order_id = await world.order()
    (number,) = await sent(world, 1)

    async def failed() -> bool:
        return [part.delivery_status for part in (await world.get(order_id)).deliveries] == [90]

    await eventually(failed)
    await time_out(world, order_id)
    await reaches(world, order_id, 90)
    await world.report(result(number, succeeded=True))
    order = await world.get(order_id)
    assert (order.state.status, "now reported as succeeded" in order.parked_reason) == (90, True)
    (audit,) = await waiting(world)
    assert "posting" in await refusal_of(world, audit.audit_id, 0)
    await decide(world, audit.audit_id, 90)
    assert (await world.get(order_id)).parked_reason == ""
    await eventually(lambda: world.ledger.of("down_channel", "test") == 0)


async def test_a_failure_told_after_a_part_was_delivered_stops_the_other_parts(
    world: World,
) -> None:
    await world.apply(
        down_products=[down_product(can_split_order=True, split_order_face_micros=100 * YUAN)],
        up_products=[up_product(face_micros=100 * YUAN)],
    )
    world.delivery.script = lambda item: None
    order_id = await world.order()
    first, second = await sent(world, 2)
    await world.report(result(first, succeeded=True))
    await world.report(result(first, succeeded=False))
    await world.report(result(second, succeeded=False))
    order = await world.get(order_id)
    assert (order.state.status, len(order.deliveries)) == (20, 2)
    (audit,) = await waiting(world)
    assert audit.type == audit_pb.AUDIT_TYPE_FALSE_SUCCESS


async def test_a_return_told_twice_differently_asks_a_person_once(world: World) -> None:
    order = await delivered(world)
    world.delivery.script = lambda item: None
    refund_id = (await ask(world, order, "f1")).refund.refund_id
    returned = await one_return(world, refund_id)
    await world.report(result(returned, succeeded=False, is_return=True))
    await ends(world, order, "f1", 90)
    for _ in range(2):
        (ack,) = await world.report(result(returned, succeeded=True, is_return=True))
        assert ack.conflict
    (audit,) = await waiting(world)
    assert (audit.type, audit.delivery_id) == (audit_pb.AUDIT_TYPE_RETURN, returned)
    # It may have succeeded: until the decision nothing more of the delivery goes back.
    assert (await ask(world, order, "f2")).HasField("refusal")
    assert len(await world.sql("SELECT 1 FROM oms_refund_up_return")) == 1
    assert "now reported as succeeded" in (await world.get(order.state.order_id)).parked_reason
    await decide(world, audit.audit_id, 90)
    await world.report(against(returned, succeeded=True, is_return=True))
    assert await waiting(world) == []
    assert not (await ask(world, order, "f3")).HasField("refusal")


async def one_return(world: World, refund_id: int) -> int:
    rows: list[Any] = []

    async def there() -> bool:
        sql = "SELECT return_id FROM oms_refund_up_return WHERE refund_id = :id AND return_status = 30"
        rows[:] = await world.sql(sql, id=refund_id)
        return bool(rows)

    await eventually(there)
    return rows[0][0]
