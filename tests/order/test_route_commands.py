"""Promises of `shoudan route`: why a supplier was chosen and what another policy would do, in words."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from shoudan.order.v1 import catalogue_service_pb2 as catalogue_pb
from shoudan_kit.clock import BEIJING
from shoudan_kit.db.shard_keys import shard_of_key
from shoudan_order import route_commands
from tests.order.harness import YUAN, Inbox, OrderHarness
from tests.order.test_routing import delivered, second, slow
from tests.order.test_shards import CHANNELS, ended, opened, placed
from tests.shard_maps import Maps


async def shoudan(harness: OrderHarness, *argv: str) -> Result:
    words = [*argv, "--target", f"127.0.0.1:{harness.process.port}"]
    return await asyncio.to_thread(CliRunner().invoke, route_commands.app, words)


async def test_an_order_says_why_its_supplier_was_chosen(harness: OrderHarness) -> None:
    await second(harness, route_policy="weighted", route_weights={"s2": 1})
    order_id = await harness.order()
    await delivered(harness, order_id)
    first, why = (await shoudan(harness, "explain", str(order_id))).output.splitlines()
    number = (await harness.get(order_id)).deliveries[0].delivery_id
    assert first == f"#{number} s2, 162 元, state 0"
    assert why.startswith("  weighted, draw 0 of 1")


async def test_an_order_without_a_supplier_says_which_its_line_forbids(
    harness: OrderHarness,
) -> None:
    await slow(harness, "slow")
    order_id = await harness.order()
    assert (await shoudan(harness, "explain", str(order_id))).output.splitlines() == [
        "not bound yet",
        "for what is not bound, its line forbids ycup (slow)",
    ]


async def test_another_policy_is_tried_on_the_orders_of_a_day(harness: OrderHarness) -> None:
    await second(harness)
    for _ in range(2):
        await delivered(harness, await harness.order())
    day = harness.context.app.clock.now().astimezone(BEIJING).date().isoformat()
    asked = ("simulate", "--day", day, "--line", "1", "--policy", "weighted", "--weights", "s2=1")
    assert (await shoudan(harness, *asked)).output.splitlines() == [
        "2 orders; 2 would begin with another supplier, 0 would have none",
        "cost of the 2 delivered whole: 320 元, would be 324 元",
        "success of 1000: 1000, expected 1000",
        "s2: 0 parts, would be 2",
        "ycup: 2 parts, would be 0",
    ]


@pytest.mark.parametrize("wrong", ["s2", "s2=", "=1", "s2=-1", "s2=0.5", "s2=99999999"])
async def test_weights_that_are_none_are_refused_in_words(
    harness: OrderHarness, wrong: str
) -> None:
    asked: list[Any] = ["simulate", "--day", "2026-01-31", "--line", "1", "--policy", "weighted"]
    found = await shoudan(harness, *asked, "--weights", wrong)
    assert found.exit_code == 2
    assert f"{wrong} is not NAME=NUMBER" in found.output


async def test_a_policy_is_tried_on_the_orders_of_all_shards(new_map: Maps, inbox: Inbox) -> None:
    urls, file = await new_map("order", 2)
    async with opened(urls, inbox, shards=file) as several:
        await tried_on_all(several)


async def tried_on_all(several: OrderHarness) -> None:
    """A policy looks at every channel's order, whose shards are all that there are."""
    made = await placed(several)
    await ended(several, made.values())
    ran = {shard_of_key([one], len(several.process.cells)) for one in CHANNELS}
    assert len(ran) == len(several.process.cells), "a channel in each shard"
    (day,) = await several.sql("SELECT CAST(shoudan_now() AT TIME ZONE 'Asia/Shanghai' AS date)")
    request = catalogue_pb.CheckRouteRequest(day=str(day[0]), line_id=1, page_size=1)
    orders, was, would, cost = 0, Counter[str](), Counter[str](), 0
    for _ in range(len(CHANNELS) + 1):
        page = await several.catalogue.CheckRoute(request)
        orders, cost = orders + page.orders, cost + page.was_cost_micros
        was.update(page.was)
        would.update(page.would)
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert not request.page_token
    assert (orders, cost) == (len(CHANNELS), len(CHANNELS) * 160 * YUAN)
    assert was == would == Counter({"ycup": len(CHANNELS)})
    words = ("simulate", "--day", str(day[0]), "--line", "1", "--policy", "cheapest")
    shown = await shoudan(several, *words)
    assert f"{len(CHANNELS)} orders; 0 would begin" in shown.output
