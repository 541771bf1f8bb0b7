"""Promises of the documented retries: each makes its step due again, once it is due, and is recorded."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from shoudan.order.v1 import audit_service_pb2 as pb
from shoudan_kit.rpc.refusal import refused_from_rpc
from shoudan_order import returns
from shoudan_order.delivery_client import Outcome
from tests.order.harness import YUAN, OrderHarness
from tests.order.test_refunds import MANDATORY, ask, delivered, ends, returns_end
from tests.order.test_trouble import reaches, second_supplier
from tests.order.test_upstream_bugs import sent, split_in_two
from tests.poll import eventually

Step = pb.RetryStepRequest.Step


async def retry(harness: OrderHarness, step: str, number: int) -> int:
    """The task made."""
    request = pb.RetryStepRequest(
        step=Step.Value(f"STEP_{step.upper()}"), id=number, by="ops", reason="asked for"
    )
    return (await harness.audits.RetryStep(request)).task_id


async def number_of(harness: OrderHarness, query: str) -> int:
    """The one number a query gives."""
    ((number,),) = await harness.sql(query)
    return number


async def test_bind_finds_a_supplier_added_since(harness: OrderHarness) -> None:
    harness.delivery.script = lambda item: item.channel_no == "second"
    order_id = await harness.order()

    async def failed() -> bool:
        return [d.delivery_status for d in (await harness.get(order_id)).deliveries] == [90]

    await eventually(failed)
    await second_supplier(harness)
    assert await retry(harness, "bind", order_id)
    await reaches(harness, order_id, 0)
    assert await retry(harness, "bind", order_id) == 0


async def test_up_pay_pays_a_supplier_whose_account_was_locked(harness: OrderHarness) -> None:
    harness.ledger.locked.add("ycup")
    order = await reaches(harness, await harness.order(), 0)

    async def tried() -> bool:
        return harness.ledger.calls >= 2

    await eventually(tried)
    harness.ledger.locked.clear()
    assert await retry(harness, "up_pay", order.deliveries[0].delivery_id)

    async def paid() -> bool:
        return (await harness.get(order.state.order_id)).up_paid

    await eventually(paid)
    assert harness.ledger.of("up_channel", "ycup") == -160 * YUAN


@pytest.mark.parametrize("step", ["order_notify", "refund_notify"])
async def test_a_dead_notify_gets_three_attempts_more(harness: OrderHarness, step: str) -> None:
    refused = step == "refund_notify"
    harness.inbox.answer = lambda told: (
        (500, "no") if ("refund_no" in told) == refused else (200, "success")
    )
    order = await delivered(harness, notify_url=harness.inbox.url)
    if refused:
        await ask(harness, order, "m1", kind=MANDATORY)
    ours = f"notify_type = {2 if refused else 1}"

    async def tried() -> bool:
        return bool(
            await harness.sql(f"SELECT 1 FROM oms_notify_info WHERE {ours} AND notify_count > 0")
        )

    await eventually(tried)
    await harness.sql(f"UPDATE oms_notify_info SET given_up = true, max_count = 1 WHERE {ours}")
    notify_id = await number_of(harness, f"SELECT notify_id FROM oms_notify_info WHERE {ours}")
    harness.inbox.answer = lambda told: (200, "success")
    assert await retry(harness, step, notify_id)

    async def told() -> bool:
        return bool(
            await harness.sql(
                f"SELECT 1 FROM oms_notify_info WHERE {ours} AND notify_status = 0"
                " AND max_count = 4 AND NOT given_up"
            )
        )

    await eventually(told)
    assert await retry(harness, step, notify_id) == 0
    attempts = await harness.sql(
        "SELECT http_status, answer FROM oms_notify_attempt WHERE notify_id = :id"
        " ORDER BY attempt_id",
        id=notify_id,
    )
    assert [tuple(row) for row in attempts] == [(500, "no"), (200, "success")]


async def test_a_failed_return_is_tried_again_under_a_new_number(harness: OrderHarness) -> None:
    await split_in_two(harness)
    harness.delivery.script = returns_end(False, None, True)
    order = await delivered(harness)
    await ask(harness, order, "f1")
    await sent(harness, 4)
    failed, open_ = (int(item.key.coop_order_id) for item in harness.delivery.sent[2:])

    async def ended() -> bool:
        return bool(
            await harness.sql(
                "SELECT 1 FROM oms_refund_up_return WHERE return_id = :id AND return_status = 90",
                id=failed,
            )
        )

    await eventually(ended)
    assert await retry(harness, "return", failed)
    assert await retry(harness, "return", failed) == 0
    await sent(harness, 5)
    await returns.report(harness.context, [Outcome(open_, True, True)])
    refund = await ends(harness, order, "f1", 0)
    assert refund.refund_sell_amount_micros == 180 * YUAN
    assert harness.ledger.of("down_channel", "test") == 0
    assert harness.ledger.of("up_channel", "ycup") == 0


async def test_a_retried_return_gives_its_refund_more_time(harness: OrderHarness) -> None:
    await split_in_two(harness)
    harness.delivery.script = returns_end(False, None, None)
    order = await delivered(harness)
    await ask(harness, order, "f1")
    await sent(harness, 4)
    failed = int(harness.delivery.sent[2].key.coop_order_id)
    await harness.sql("UPDATE oms_refund_info SET return_overtime = shoudan_now() + interval '1 s'")

    async def retried() -> bool:
        return bool(await retry(harness, "return", failed))

    await eventually(retried)
    await harness.sql(
        "UPDATE task SET next_execute_time = shoudan_now() WHERE name = 'refund.overtime'"
    )

    async def put_off() -> bool:
        rows = await harness.sql(
            "SELECT last_error FROM task WHERE name = 'refund.overtime' AND last_error <> ''"
        )
        return len(rows) == 2

    await eventually(put_off)
    assert (await harness.sql("SELECT refund_status FROM oms_refund_info"))[0][0] == 10


@pytest.mark.parametrize("step", ["up_refund", "down_refund"])
async def test_money_that_could_not_be_moved_back_is_moved_at_the_retry(
    harness: OrderHarness, step: str
) -> None:
    who = "ycup" if step == "up_refund" else "test"
    order = await delivered(harness)
    harness.ledger.locked.add(who)
    await ask(harness, order, "f1")
    waits = {
        "up_refund": "SELECT return_id FROM oms_refund_up_return WHERE up_refund_status = 20",
        "down_refund": "SELECT refund_id FROM oms_refund_info WHERE down_refund_status = 20",
    }[step]

    async def waiting() -> bool:
        return bool(await harness.sql(waits))

    await eventually(waiting)
    number = await number_of(harness, waits)
    harness.ledger.locked.clear()
    assert await retry(harness, step, number)
    await ends(harness, order, "f1", 0)
    assert harness.ledger.of("up_channel", "ycup") == harness.ledger.of("down_channel", "test") == 0
    assert await retry(harness, step, number) == 0


@pytest.mark.parametrize("step", ["bind", "up_pay", "return", "up_refund", "down_refund"])
async def test_what_is_not_there_is_refused(harness: OrderHarness, step: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        await retry(harness, step, 1)
    refused: Any = refused_from_rpc(error.value)
    assert refused.reason == "ERROR_REASON_NOT_FOUND"
