"""Promises of `shoudan route`: why a supplier was chosen and what another policy would do, in words."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from shoudan_kit.clock import BEIJING
from shoudan_order import route_commands
from tests.order.harness import OrderHarness
from tests.order.test_routing import delivered, second, slow


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
