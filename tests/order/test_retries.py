"""Promises of the documented retries: each makes its step due again, once it is due, and is recorded."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from shoudan.order.v1 import audit_service_pb2 as pb
from shoudan_kit.rpc.refusal import refused_from_rpc
from shoudan_order import returns
from shoudan_order.delivery_client import Outcome
from tests.order.test_refunds import MANDATORY, ask, delivered, ends, returns_end
from tests.order.test_trouble import reaches, second_supplier
from tests.order.test_upstream_bugs import sent, split_in_two
from tests.order.world import YUAN, World
from tests.poll import eventually

Step = pb.RetryStepRequest.Step


async def retry(world: World, step: str, number: int) -> int:
    """The task made."""
    request = pb.RetryStepRequest(
        step=Step.Value(f"STEP_{step.upper()}"), id=number, by="ops", reason="asked for"
    )
    return (await world.audits.RetryStep(request)).task_id


async def number_of(world: World, query: str) -> int:
    """The one number a query gives."""
    ((number,),) = await world.sql(query)
    return number


async def test_bind_finds_a_supplier_added_since(world: World) -> None:
    world.delivery.script = lambda item: item.channel_no == "second"
    order_id = await world.order()

    async def failed() -> bool:
        return [d.delivery_status for d in (await world.get(order_id)).deliveries] == [90]

    await eventually(failed)
    await second_supplier(world)
    assert await retry(world, "bind", order_id)
    await reaches(world, order_id, 0)
    assert await retry(world, "bind", order_id) == 0


async def test_up_pay_pays_a_supplier_whose_account_was_locked(world: World) -> None:
    world.ledger.locked.add("ycup")
    order = await reaches(world, await world.order(), 0)

    async def tried() -> bool:
        return world.ledger.calls >= 2

    await eventually(tried)
    world.ledger.locked.clear()
    assert await retry(world, "up_pay", order.deliveries[0].delivery_id)

    async def paid() -> bool:
        return (await world.get(order.state.order_id)).up_paid

    await eventually(paid)
    assert world.ledger.of("up_channel", "ycup") == -160 * YUAN


@pytest.mark.parametrize("step", ["order_notify", "refund_notify"])
async def test_a_dead_notify_gets_three_attempts_more(world: World, step: str) -> None:
    refused = step == "refund_notify"
    world.inbox.answer = lambda told: (
        (500, "no") if ("refund_no" in told) == refused else (200, "success")
    )
    order = await delivered(world, notify_url=world.inbox.url)
    if refused:
        await ask(world, order, "m1", kind=MANDATORY)
    ours = f"notify_type = {2 if refused else 1}"

    async def tried() -> bool:
        return bool(
            await world.sql(f"SELECT 1 FROM oms_notify_info WHERE {ours} AND notify_count > 0")
        )

    await eventually(tried)
    await world.sql(f"UPDATE oms_notify_info SET given_up = true, max_count = 1 WHERE {ours}")
    notify_id = await number_of(world, f"SELECT notify_id FROM oms_notify_info WHERE {ours}")
    world.inbox.answer = lambda told: (200, "success")
    assert await retry(world, step, notify_id)

    async def told() -> bool:
        return bool(
            await world.sql(
                f"SELECT 1 FROM oms_notify_info WHERE {ours} AND notify_status = 0"
                " AND max_count = 4 AND NOT given_up"
            )
        )

    await eventually(told)
    assert await retry(world, step, notify_id) == 0
    attempts = await world.sql(
        "SELECT http_status, answer FROM oms_notify_attempt WHERE notify_id = :id"
        " ORDER BY attempt_id",
        id=notify_id,
    )
    assert [tuple(row) for row in attempts] == [(500, "no"), (200, "success")]


async def test_a_failed_return_is_tried_again_under_a_new_number(world: World) -> None:
    await split_in_two(world)
    world.delivery.script = returns_end(False, None, True)
    order = await delivered(world)
    await ask(world, order, "f1")
    await sent(world, 4)
    failed, open_ = (int(item.key.coop_order_id) for item in world.delivery.sent[2:])

    async def ended() -> bool:
        return bool(
            await world.sql(
                "SELECT 1 FROM oms_refund_up_return WHERE return_id = :id AND return_status = 90",
                id=failed,
            )
        )

    await eventually(ended)
    assert await retry(world, "return", failed)
    assert await retry(world, "return", failed) == 0
    await sent(world, 5)
    await returns.report(world.context, [Outcome(open_, True, True)])
    refund = await ends(world, order, "f1", 0)
    assert refund.refund_sell_amount_micros == 180 * YUAN
    assert world.ledger.of("down_channel", "test") == 0
    assert world.ledger.of("up_channel", "ycup") == 0


async def test_a_retried_return_gives_its_refund_more_time(world: World) -> None:
    await split_in_two(world)
    world.delivery.script = returns_end(False, None, None)
    order = await delivered(world)
    await ask(world, order, "f1")
    await sent(world, 4)
    failed = int(world.delivery.sent[2].key.coop_order_id)
    await world.sql("UPDATE oms_refund_info SET return_overtime = shoudan_now() + interval '1 s'")

    async def retried() -> bool:
        return bool(await retry(world, "return", failed))

    await eventually(retried)
    await world.sql(
        "UPDATE task SET next_execute_time = shoudan_now() WHERE name = 'refund.overtime'"
    )

    async def put_off() -> bool:
        rows = await world.sql(
            "SELECT last_error FROM task WHERE name = 'refund.overtime' AND last_error <> ''"
        )
        return len(rows) == 2

    await eventually(put_off)
    assert (await world.sql("SELECT refund_status FROM oms_refund_info"))[0][0] == 10


@pytest.mark.parametrize("step", ["up_refund", "down_refund"])
async def test_money_that_could_not_be_moved_back_is_moved_at_the_retry(
    world: World, step: str
) -> None:
    who = "ycup" if step == "up_refund" else "test"
    order = await delivered(world)
    world.ledger.locked.add(who)
    await ask(world, order, "f1")
    waits = {
        "up_refund": "SELECT return_id FROM oms_refund_up_return WHERE up_refund_status = 20",
        "down_refund": "SELECT refund_id FROM oms_refund_info WHERE down_refund_status = 20",
    }[step]

    async def waiting() -> bool:
        return bool(await world.sql(waits))

    await eventually(waiting)
    number = await number_of(world, waits)
    world.ledger.locked.clear()
    assert await retry(world, step, number)
    await ends(world, order, "f1", 0)
    assert world.ledger.of("up_channel", "ycup") == world.ledger.of("down_channel", "test") == 0
    assert await retry(world, step, number) == 0


@pytest.mark.parametrize("step", ["bind", "up_pay", "return", "up_refund", "down_refund"])
async def test_what_is_not_there_is_refused(world: World, step: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        await retry(world, step, 1)
    refused: Any = refused_from_rpc(error.value)
    assert refused.reason == "ERROR_REASON_NOT_FOUND"
