"""Every row of the documented steps: in this vector of statuses, this event leads to that vector.

Source: oms-behaviour §3.2 (statuses), §3.5-3.8 (steps). Vectors are written as Life.vector reads them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from shoudan_kit.embedded import DatabaseUrls
from tests.order.harness import OrderHarness, inboxes, running
from tests.order.walk import Walk

VECTORS = Path(__file__).with_name("vectors")

PAID = "order pay"
SENT = f"{PAID} bind hand_over"
DONE = f"{SENT} succeed"
SETTLED = f"{DONE} up_pay notify"
BACK = f"{SETTLED} refund give_back"
TWO = "order_two pay bind hand_over"
TWO_DONE = f"{TWO} succeed succeed_last up_pay notify"
TWO_BACK = f"{TWO_DONE} refund_two give_back"

# what happened before | vector | event | vector after
ROWS = (VECTORS / "rows.txt").read_text("utf-8")

# The same where partial_auto is off: a person closes what is half done.
BY_HAND = (VECTORS / "by_hand.txt").read_text("utf-8")


def rows(table: str) -> list[tuple[str, ...]]:
    """The rows of a table, names of earlier events spelt out."""
    names = {k: v for k, v in globals().items() if k.isupper() and isinstance(v, str)}
    lines = [line for line in table.format(**names).splitlines() if line]
    return [tuple(cell.strip() for cell in line.split("|")) for line in lines]


def name(row: tuple[str, ...]) -> str:
    return f"{row[1]} {row[2]}".replace("/", ".").replace(" ", "_") + f"_after_{row[0].split()[-1]}"


@pytest.fixture(scope="module")
async def still(
    new_database: Callable[[str], Awaitable[DatabaseUrls]],
) -> AsyncIterator[OrderHarness]:
    """A harness in which nothing runs by itself."""
    async with inboxes() as inbox:
        nobody = frozenset({"rpc"})
        async with running(await new_database("order"), inbox, roles=nobody) as made:
            yield made


@pytest.fixture(scope="module")
async def by_people(
    new_database: Callable[[str], Awaitable[DatabaseUrls]],
) -> AsyncIterator[OrderHarness]:
    """The same where a person closes what is half done."""
    async with inboxes() as inbox:
        nobody = frozenset({"rpc"})
        urls = await new_database("order")
        async with running(urls, inbox, roles=nobody, partial_auto=False) as made:
            yield made


async def lives(harness: OrderHarness, row: tuple[str, ...]) -> None:
    """Live as far as the row begins, see the vector, let the event happen, see the vector after."""
    before, vector, event, after = row
    walk = Walk(harness)
    # A row begins with nothing left of the one before.
    await harness.sql("DELETE FROM task")
    for earlier in before.split():
        if earlier != "-":
            await walk.happen(earlier)
    if vector != "-":
        assert await walk.vector() == vector
    await walk.happen(event)
    assert await walk.vector() == after


@pytest.mark.parametrize("row", rows(ROWS), ids=name)
async def test_a_step_leads_from_vector_to_vector(
    still: OrderHarness, row: tuple[str, ...]
) -> None:
    await lives(still, row)


@pytest.mark.parametrize("row", rows(BY_HAND), ids=name)
async def test_half_done_waits_for_a_person_where_it_is_to(
    by_people: OrderHarness, row: tuple[str, ...]
) -> None:
    await lives(by_people, row)
