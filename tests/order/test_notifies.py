"""Promises of notifies: they say what they were owed for, and what counts as an acknowledgement."""

from __future__ import annotations

from typing import Any

import pytest

from shoudan_kit.egress import Answered
from shoudan_order.notifies import acknowledged
from tests.order.test_refunds import MANDATORY, ask, delivered
from tests.order.test_retries import number_of, retry
from tests.order.world import World, catalogue_pb
from tests.poll import eventually

DUE = "UPDATE task SET next_execute_time = shoudan_now() WHERE name = 'order.notify'"


async def tries(world: World, count: int) -> None:
    """Wait until the order's notify was tried so often, making it due at once."""

    async def tried() -> bool:
        await world.sql(DUE)
        return bool(
            await world.sql(
                "SELECT 1 FROM oms_notify_info WHERE refund_id = 0 AND notify_count >= :count",
                count=count,
            )
        )

    await eventually(tried)


def of_the_order(world: World) -> list[dict[str, Any]]:
    """What the partner was told of the order itself."""
    return [told for told in world.inbox.told if "refund_no" not in told]


@pytest.mark.parametrize("words", [False, True])
async def test_a_notify_retried_after_a_refund_says_what_it_was_owed_for(
    world: World, words: bool
) -> None:
    if words:
        await world.apply(down_channels=[_wording()])
    world.inbox.answer = lambda told: (
        (500, "later") if "refund_no" not in told else (200, "success")
    )
    order = await delivered(world, notify_url=world.inbox.url)
    await tries(world, 1)
    await ask(world, order, "m1", kind=MANDATORY)
    assert (await world.get(order.state.order_id)).state.status == 90
    await tries(world, 3)
    first, *later = of_the_order(world)
    assert first["status"] == ("SUCCESS" if words else 0)
    assert later
    assert all(told == first for told in later)
    refund = next(told for told in world.inbox.told if "refund_no" in told)
    assert refund["status"] == ("SUCCESS" if words else 0)
    assert refund.get("failed_code") == ("000" if words else None)


async def test_a_notify_resent_after_a_refund_says_what_it_was_owed_for(world: World) -> None:
    world.inbox.answer = lambda told: (
        (500, "later") if "refund_no" not in told else (200, "success")
    )
    order = await delivered(world, notify_url=world.inbox.url)
    await tries(world, 1)
    await ask(world, order, "m1", kind=MANDATORY)
    await world.sql("DELETE FROM task WHERE name = 'order.notify'")
    await world.sql("UPDATE oms_notify_info SET given_up = true WHERE refund_id = 0")
    world.inbox.answer = lambda told: (200, "success")
    number = await number_of(world, "SELECT notify_id FROM oms_notify_info WHERE refund_id = 0")
    assert await retry(world, "order_notify", number)

    async def told() -> bool:
        return (await world.get(order.state.order_id)).notify_status == 0

    await eventually(told)
    assert {told["status"] for told in of_the_order(world)} == {0}


def _wording() -> Any:
    return catalogue_pb.DownChannel(
        channel_no="test", channel_name="测试", enabled=True, word_status=True
    )


@pytest.mark.parametrize(
    ("body", "is_one"),
    [
        (b"success", True),
        (b"\xef\xbb\xbfsuccess", True),
        (b'\xef\xbb\xbf"success"', True),
        (b'\xef\xbb\xbf{"data":"success"}', True),
        (b'{"status":0}', True),
        (b'{"status":200,"notify_msg":" Success "}', True),
        (b'{"status":0,"notify_msg":""}', True),
        ('{"status":0,"notify_msg":"成功"}'.encode(), True),
        (b'{"status":0,"notify_msg":"fail"}', False),
        ('{"status":0,"notify_msg":"订单不存在"}'.encode(), False),
        (b'{"status":200,"notify_msg":false}', False),
        (b'{"status":false}', False),
        (b"", False),
    ],
)
def test_an_answer_acknowledges_only_when_all_of_it_says_success(body: bytes, is_one: bool) -> None:
    assert acknowledged(Answered(200, {}, body)) is is_one
