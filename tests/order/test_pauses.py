"""Promises of a paused delivery: nothing is bound while it lasts, and everything goes on afterwards."""

from __future__ import annotations

import grpc
import pytest

from shoudan.order.v1 import audit_service_pb2 as pb
from shoudan.order.v1 import order_service_pb2 as order_pb
from shoudan_kit.rpc.refusal import refused_from_rpc
from tests.order.harness import OrderHarness
from tests.order.test_trouble import reaches, second_supplier
from tests.order.walk import Steps
from tests.poll import eventually


async def pause(harness: OrderHarness, *order_ids: int, paused: bool = True) -> list[int]:
    """The orders that changed."""
    request = pb.PauseDeliveryRequest(order_ids=order_ids, paused=paused, by="ops", reason="fraud?")
    return list((await harness.audits.PauseDelivery(request)).order_ids)


async def test_an_order_paused_before_it_is_paid_is_charged_but_not_bound(
    harness: OrderHarness,
) -> None:
    harness.ledger.limits["test"] = -1
    order_id = await harness.order()

    async def tried() -> bool:
        return harness.ledger.calls > 0

    await eventually(tried)
    assert await pause(harness, order_id) == [order_id]
    assert await pause(harness, order_id) == []
    harness.ledger.limits.clear()

    async def due() -> bool:
        await harness.sql(
            "UPDATE task SET next_execute_time = shoudan_now() WHERE name = 'order.pay'"
        )
        return (await harness.get(order_id)).state.status == 20

    await eventually(due)
    order = await harness.get(order_id)
    assert (list(order.deliveries), order.bind_face_micros) == ([], 0)
    assert await Steps(harness).run("order.bind") == 1
    assert harness.delivery.sent == []
    assert await pause(harness, order_id, paused=False) == [order_id]
    await reaches(harness, order_id, 0)
    rows = await harness.sql(
        "SELECT operation, operator, detail FROM oms_operation"
        " WHERE operation LIKE 'order.%' ORDER BY operation_id"
    )
    assert [tuple(row) for row in rows] == [
        ("order.pause", "ops", {"reason": "fraud?"}),
        ("order.resume", "ops", {"reason": "fraud?"}),
    ]


async def test_a_part_that_fails_while_paused_is_bound_again_only_afterwards(
    harness: OrderHarness,
) -> None:
    harness.delivery.script = lambda item: None if item.channel_no == "ycup" else True
    await second_supplier(harness)
    order_id = await harness.order()

    async def sent() -> bool:
        return bool(harness.delivery.sent)

    await eventually(sent)
    await pause(harness, order_id)
    number = (await harness.get(order_id)).deliveries[0].delivery_id
    (ack,) = await harness.report(order_pb.DeliveryResult(id=number, succeeded=False))
    assert ack.applied
    assert [d.delivery_status for d in (await harness.get(order_id)).deliveries] == [90]
    await pause(harness, order_id, paused=False)
    order = await reaches(harness, order_id, 0)
    assert [d.up_channel_no for d in order.deliveries] == ["ycup", "second"]


async def test_an_ended_order_is_not_paused_and_an_unknown_one_refused(
    harness: OrderHarness,
) -> None:
    order = await reaches(harness, await harness.order(), 0)
    assert await pause(harness, order.state.order_id) == []
    with pytest.raises(grpc.RpcError) as error:
        await pause(harness, order.state.order_id, 1)
    refused = refused_from_rpc(error.value)
    assert refused is not None
    assert refused.reason == "ERROR_REASON_NOT_FOUND"
