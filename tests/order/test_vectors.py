"""Every row of the documented steps: in this vector of statuses, this event leads to that vector.

Source: oms-behaviour §3.2 (statuses), §3.5-3.8 (steps). Vectors are written as Life.vector reads them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from shoudan_kit.embedded import DatabaseUrls
from tests.order.life import Life
from tests.order.world import World, inboxes, running

PAID = "order pay"
SENT = f"{PAID} bind hand_over"
DONE = f"{SENT} succeed"
SETTLED = f"{DONE} up_pay notify"
BACK = f"{SETTLED} refund give_back"
TWO = "order_two pay bind hand_over"
TWO_DONE = f"{TWO} succeed succeed_last up_pay notify"
TWO_BACK = f"{TWO_DONE} refund_two give_back"

# what happened before | vector | event | vector after
ROWS = """
- | - | order | 10/30/10/10/10
order | 10/30/10/10/10 | pay | 20/0/20/10/10
order | 10/30/10/10/10 | pay_short | 10/30/10/10/10
order | 10/30/10/10/10 | too_early | 10/30/10/10/10
order | 10/30/10/10/10 | overtime | 90/90/10/20/30
order overtime | 90/90/10/20/30 | pay | 90/90/10/20/30
order overtime | 90/90/10/20/30 | money_back | 90/90/10/99/30
order overtime money_back | 90/90/10/99/30 | pay | 90/90/10/99/30
order overtime | 90/90/10/20/30 | notify | 90/90/10/20/0

{PAID} | 20/0/20/10/10 | pay | 20/0/20/10/10
{PAID} | 20/0/20/10/10 | bind | 20/0/30/10/10 d30/10
{PAID} | 20/0/20/10/10 | too_early | 20/0/20/10/10
{PAID} | 20/0/20/10/10 | overtime | 90/0/90/20/30
{PAID} overtime | 90/0/90/20/30 | bind | 90/0/90/20/30
{PAID} overtime | 90/0/90/20/30 | money_back | 90/0/90/0/30
{PAID} overtime money_back | 90/0/90/0/30 | money_back | 90/0/90/0/30
{PAID} bind | 20/0/30/10/10 d30/10 | hand_over | 20/0/30/10/10 d30/10
{PAID} bind | 20/0/30/10/10 d30/10 | overtime | 20/0/30/10/10 d30/10
{PAID} bind overtime | 20/0/30/10/10 d30/10 | ask | 90/0/90/20/30 d90/99
{SENT} | 20/0/30/10/10 d30/10 | bind | 20/0/30/10/10 d30/10
{SENT} | 20/0/30/10/10 d30/10 | succeed | 0/0/0/10/30 d0/30
{SENT} | 20/0/30/10/10 d30/10 | fail | 20/0/20/10/10 d90/99
{SENT} fail | 20/0/20/10/10 d90/99 | bind | 20/0/20/10/10 d90/99
{SENT} fail | 20/0/20/10/10 d90/99 | succeed | 20/0/20/10/10 d90/99
{SENT} fail | 20/0/20/10/10 d90/99 | overtime | 90/0/90/20/30 d90/99
{SENT} | 20/0/30/10/10 d30/10 | overtime | 20/0/30/10/10 d30/10
{SENT} overtime | 20/0/30/10/10 d30/10 | ask | 20/0/30/10/10 d30/10
{SENT} overtime | 20/0/30/10/10 d30/10 | fail | 90/0/90/20/30 d90/99
{SENT} overtime | 20/0/30/10/10 d30/10 | succeed | 0/0/0/10/30 d0/30
{SENT} overtime ask | 20/0/30/10/10 d30/10 | succeed | 0/0/0/10/30 d0/30
{SENT} overtime ask | 20/0/30/10/10 d30/10 | decide_success | 0/0/0/10/30 d0/30
{SENT} overtime ask | 20/0/30/10/10 d30/10 | decide_failure | 90/0/90/20/30 d90/99

{DONE} | 0/0/0/10/30 d0/30 | succeed | 0/0/0/10/30 d0/30
{DONE} | 0/0/0/10/30 d0/30 | fail | 0/0/0/10/30 d0/30
{DONE} | 0/0/0/10/30 d0/30 | overtime | 0/0/0/10/30 d0/30
{DONE} | 0/0/0/10/30 d0/30 | up_pay | 0/0/0/10/30 d0/0
{DONE} | 0/0/0/10/30 d0/30 | notify | 0/0/0/10/0 d0/30
{DONE} | 0/0/0/10/30 d0/30 | notify_refused | 0/0/0/10/30 d0/30
{DONE} | 0/0/0/10/30 d0/30 | query | 0/0/0/10/100 d0/30
{DONE} query | 0/0/0/10/100 d0/30 | notify | 0/0/0/10/100 d0/30
{DONE} | 0/0/0/10/30 d0/30 | mandatory | 90/0/0/10/30 d0/30 r20/99/20/30
{DONE} mandatory | 90/0/0/10/30 d0/30 r20/99/20/30 | up_pay | 90/0/0/10/30 d0/0 r20/99/20/30

{TWO} | 20/0/30/10/10 d30/10 d30/10 | succeed | 20/0/30/10/10 d0/30 d30/10
{TWO} succeed | 20/0/30/10/10 d0/30 d30/10 | succeed_last | 0/0/0/10/30 d0/30 d0/30
{TWO} succeed | 20/0/30/10/10 d0/30 d30/10 | up_pay | 20/0/30/10/10 d0/0 d30/10
{TWO} succeed fail_last | 20/0/20/10/10 d0/30 d90/99 | overtime | 91/0/91/20/30 d0/30 d90/99
{TWO} succeed overtime | 20/0/30/10/10 d0/30 d30/10 | fail_last | 91/0/91/20/30 d0/30 d90/99
{TWO} fail overtime | 20/0/20/10/10 d90/99 d30/10 | succeed_last | 91/0/91/20/30 d90/99 d0/30
{TWO} fail overtime ask | 20/0/20/10/10 d90/99 d30/10 | decide_success | 91/0/91/20/30 d90/99 d0/30
{TWO} succeed overtime fail_last | 91/0/91/20/30 d0/30 d90/99 | money_back | 91/0/91/0/30 d0/30 d90/99
{TWO} succeed overtime fail_last | 91/0/91/20/30 d0/30 d90/99 | refund | 91/0/91/20/30 d0/30 d90/99

{SETTLED} | 0/0/0/10/0 d0/0 | refund | 0/0/0/10/0 d0/0 r10/20/10/10 u20/10
{SETTLED} | 0/0/0/10/0 d0/0 | mandatory | 90/0/0/10/0 d0/0 r20/99/20/30
{SETTLED} mandatory | 90/0/0/10/0 d0/0 r20/99/20/30 | down_refund | 90/0/0/10/0 d0/0 r0/99/0/30
{SETTLED} mandatory | 90/0/0/10/0 d0/0 r20/99/20/30 | refund_notify | 90/0/0/10/0 d0/0 r20/99/20/0
{SETTLED} mandatory | 90/0/0/10/0 d0/0 r20/99/20/30 | refund | 90/0/0/10/0 d0/0 r20/99/20/30
{SETTLED} refund | 0/0/0/10/0 d0/0 r10/20/10/10 u20/10 | give_back | 0/0/0/10/0 d0/0 r10/30/10/10 u30/10
{SETTLED} refund | 0/0/0/10/0 d0/0 r10/20/10/10 u20/10 | refund | 0/0/0/10/0 d0/0 r10/20/10/10 u20/10
{SETTLED} refund | 0/0/0/10/0 d0/0 r10/20/10/10 u20/10 | refund_overtime | 0/0/0/10/0 d0/0 r90/90/99/30 u90/99
{BACK} | 0/0/0/10/0 d0/0 r10/30/10/10 u30/10 | returned | 90/0/0/10/0 d0/0 r20/0/20/30 u0/20
{BACK} | 0/0/0/10/0 d0/0 r10/30/10/10 u30/10 | not_returned | 0/0/0/10/0 d0/0 r90/90/99/30 u90/99
{BACK} | 0/0/0/10/0 d0/0 r10/30/10/10 u30/10 | refund_overtime | 0/0/0/10/0 d0/0 r10/30/10/10 u30/10
{BACK} refund_overtime | 0/0/0/10/0 d0/0 r10/30/10/10 u30/10 | ask_return | 0/0/0/10/0 d0/0 r10/30/10/10 u30/10
{BACK} refund_overtime ask_return | 0/0/0/10/0 d0/0 r10/30/10/10 u30/10 | returned | 90/0/0/10/0 d0/0 r20/0/20/30 u0/20
{BACK} refund_overtime ask_return | 0/0/0/10/0 d0/0 r10/30/10/10 u30/10 | decide_success | 90/0/0/10/0 d0/0 r20/0/20/30 u0/20
{BACK} refund_overtime ask_return | 0/0/0/10/0 d0/0 r10/30/10/10 u30/10 | decide_failure | 0/0/0/10/0 d0/0 r90/90/99/30 u90/99
{BACK} returned | 90/0/0/10/0 d0/0 r20/0/20/30 u0/20 | returned | 90/0/0/10/0 d0/0 r20/0/20/30 u0/20
{BACK} returned | 90/0/0/10/0 d0/0 r20/0/20/30 u0/20 | not_returned | 90/0/0/10/0 d0/0 r20/0/20/30 u0/20
{BACK} returned | 90/0/0/10/0 d0/0 r20/0/20/30 u0/20 | down_refund | 90/0/0/10/0 d0/0 r20/0/0/30 u0/20
{BACK} returned | 90/0/0/10/0 d0/0 r20/0/20/30 u0/20 | up_refund | 90/0/0/10/0 d0/0 r20/0/20/30 u0/0
{BACK} returned down_refund | 90/0/0/10/0 d0/0 r20/0/0/30 u0/20 | up_refund | 90/0/0/10/0 d0/0 r0/0/0/30 u0/0
{BACK} returned up_refund | 90/0/0/10/0 d0/0 r20/0/20/30 u0/0 | down_refund | 90/0/0/10/0 d0/0 r0/0/0/30 u0/0
{BACK} returned | 90/0/0/10/0 d0/0 r20/0/20/30 u0/20 | refund_notify | 90/0/0/10/0 d0/0 r20/0/20/0 u0/20

{TWO_DONE} | 0/0/0/10/0 d0/0 d0/0 | mandatory | 91/0/0/10/0 d0/0 d0/0 r20/99/20/30
{TWO_BACK} | 0/0/0/10/0 d0/0 d0/0 r10/30/10/10 u30/10 u30/10 | returned | 0/0/0/10/0 d0/0 d0/0 r10/30/10/10 u0/20 u30/10
{TWO_BACK} returned | 0/0/0/10/0 d0/0 d0/0 r10/30/10/10 u0/20 u30/10 | up_refund | 0/0/0/10/0 d0/0 d0/0 r10/30/10/10 u0/0 u30/10
{TWO_BACK} returned | 0/0/0/10/0 d0/0 d0/0 r10/30/10/10 u0/20 u30/10 | returned_last | 90/0/0/10/0 d0/0 d0/0 r20/0/20/30 u0/20 u0/20
{TWO_BACK} returned | 0/0/0/10/0 d0/0 d0/0 r10/30/10/10 u0/20 u30/10 | not_returned_last | 91/0/0/10/0 d0/0 d0/0 r91/91/20/30 u0/20 u90/99
{TWO_BACK} returned not_returned_last | 91/0/0/10/0 d0/0 d0/0 r91/91/20/30 u0/20 u90/99 | down_refund | 91/0/0/10/0 d0/0 d0/0 r91/91/0/30 u0/20 u90/99

{SETTLED} | 0/0/0/10/0 d0/0 | false_success | 0/0/0/10/0 d0/0 u0/20
{SETTLED} false_success | 0/0/0/10/0 d0/0 u0/20 | up_refund | 0/0/0/10/0 d0/0 u0/0
{SETTLED} false_success | 0/0/0/10/0 d0/0 u0/20 | refund | 0/0/0/10/0 d0/0 u0/20
"""  # noqa: E501

# The same where partial_auto is off: a person closes what is half done.
BY_HAND = """
{TWO} succeed fail_last | 20/0/20/10/10 d0/30 d90/99 | overtime | 20/0/20/10/10 d0/30 d90/99
{TWO} fail overtime | 20/0/20/10/10 d90/99 d30/10 | succeed_last | 20/0/20/10/10 d90/99 d0/30
{TWO} fail overtime succeed_last | 20/0/20/10/10 d90/99 d0/30 | decide_partial | 91/0/91/20/30 d90/99 d0/30
{TWO} succeed overtime | 20/0/30/10/10 d0/30 d30/10 | fail_last | 20/0/20/10/10 d0/30 d90/99
{TWO} succeed overtime fail_last | 20/0/20/10/10 d0/30 d90/99 | decide_partial | 91/0/91/20/30 d0/30 d90/99
{TWO} succeed fail_last overtime | 20/0/20/10/10 d0/30 d90/99 | decide_partial | 91/0/91/20/30 d0/30 d90/99
{TWO_BACK} returned | 0/0/0/10/0 d0/0 d0/0 r10/30/10/10 u0/20 u30/10 | not_returned_last | 0/0/0/10/0 d0/0 d0/0 r10/30/10/10 u0/20 u90/99
{TWO_BACK} returned not_returned_last | 0/0/0/10/0 d0/0 d0/0 r10/30/10/10 u0/20 u90/99 | decide_partial | 91/0/0/10/0 d0/0 d0/0 r91/91/20/30 u0/20 u90/99
"""  # noqa: E501


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
) -> AsyncIterator[World]:
    """A world in which nothing runs by itself."""
    async with inboxes() as inbox:
        nobody = frozenset({"rpc"})
        async with running(await new_database("order"), inbox, roles=nobody) as made:
            yield made


@pytest.fixture(scope="module")
async def by_people(
    new_database: Callable[[str], Awaitable[DatabaseUrls]],
) -> AsyncIterator[World]:
    """The same where a person closes what is half done."""
    async with inboxes() as inbox:
        nobody = frozenset({"rpc"})
        urls = await new_database("order")
        async with running(urls, inbox, roles=nobody, partial_auto=False) as made:
            yield made


async def lives(world: World, row: tuple[str, ...]) -> None:
    """Live as far as the row begins, see the vector, let the event happen, see the vector after."""
    before, vector, event, after = row
    life = Life(world)
    # A row begins with nothing left of the one before.
    await world.sql("DELETE FROM task")
    for earlier in before.split():
        if earlier != "-":
            await life.happen(earlier)
    if vector != "-":
        assert await life.vector() == vector
    await life.happen(event)
    assert await life.vector() == after


@pytest.mark.parametrize("row", rows(ROWS), ids=name)
async def test_a_step_leads_from_vector_to_vector(still: World, row: tuple[str, ...]) -> None:
    await lives(still, row)


@pytest.mark.parametrize("row", rows(BY_HAND), ids=name)
async def test_half_done_waits_for_a_person_where_it_is_to(
    by_people: World, row: tuple[str, ...]
) -> None:
    await lives(by_people, row)
