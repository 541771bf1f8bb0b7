"""What an order writes, counted in the write-ahead log of a running system: rows, commits, events.

Counts are exact on any machine, so they hold what timings cannot: a row or a step that comes back fails here.
The two tables below are what an order writes today. A change that fuses steps or writes fewer rows lowers
them, and this test fails until it does; nothing raises them without saying why.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.system.conftest import Partner
from tests.system.log_of_writes import position, written

pytestmark = pytest.mark.system

BATCH, BATCHES = 50, 4
SERVICES = ("order", "pay", "delivery")

# Rows of one order: inserted, updated, deleted.
EACH = {
    "order.oms_order_info": (1, 4, 0),
    "order.oms_order_delivery": (1, 2, 0),
    "order.oms_notify_info": (1, 1, 0),
    "order.oms_notify_attempt": (1, 0, 0),
    "order.task": (5, 0, 5),
    "order.event": (6, 0, 0),
    "pay.account_record": (2, 0, 0),
    "delivery.vds_order_info": (1, 2, 0),
    "delivery.vds_order_notify": (1, 0, 0),
    "delivery.event": (1, 0, 0),
}
# What all orders of a batch share: transactions, and rows of all other tables together. A busy machine
# divides batches, so these are bounds above what a quiet one shows, 47 to 51 and 53 to 78, and below what
# one row or transaction of each order would make of it.
COMMITS_MAX, SHARED_MAX = 75, 100
# Rows of others that may be among those counted: of a task that comes back, of a lease that is renewed.
STRAY = 0.05


async def test_an_order_writes_the_rows_it_is_known_to_write(partner: Partner) -> None:
    number = partner.number()

    async def place(name: str) -> None:
        await asyncio.gather(*(partner.order(request_no=f"{name}-{i}") for i in range(BATCH)))
        await partner.all_ended(f"{name}-", BATCH)

    await place(f"{number}-warm")
    postgres = partner.system.postgres
    start = await position(postgres)
    for one in range(BATCHES):
        await place(f"{number}-{one}")
    found = await written(postgres, SERVICES, start, await position(postgres))
    count = BATCH * BATCHES
    each = {name: [found.rows.pop(f"{name} {what}", 0) for what in "+~-"] for name in EACH}
    assert {name: tuple(rows) for name, rows in each.items()} == {
        name: tuple(pytest.approx(one * count, abs=STRAY * count) for one in rows)
        for name, rows in EACH.items()
    }
    assert found.rows.total() <= SHARED_MAX * BATCHES, found.rows
    assert BATCHES < found.commits <= COMMITS_MAX * BATCHES
