"""What an order writes, counted in the write-ahead log of a running system: rows and steps.

Counts are exact on any machine, so they hold what timings cannot: a row or a step that comes back fails here.
EACH and STEPS are what an order writes today. A change that fuses steps or writes fewer rows lowers them,
and this test fails until it does; nothing raises them without saying why.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.system.conftest import Partner
from tests.system.log_of_writes import Written, position, written

pytestmark = pytest.mark.system

BATCH = 50
BATCHES_MAX = 4
SERVICES = ("order", "pay", "delivery")

# Rows of one order: inserted +, updated ~, deleted -.
EACH = {
    "order.oms_order_info +": 1,
    "order.oms_order_info ~": 3,
    "order.oms_order_delivery +": 1,
    "order.oms_order_delivery ~": 2,
    "order.oms_notify_info +": 1,
    "order.oms_notify_info ~": 1,
    "order.oms_notify_attempt +": 1,
    "order.task +": 1,
    "order.task -": 1,
    "order.event +": 6,
    "pay.account_record +": 2,
    "delivery.vds_order_info +": 1,
    "delivery.vds_order_info ~": 1,
    "delivery.vds_order_notify +": 1,
    "delivery.event +": 1,
}
OWN = {one.split()[0] for one in EACH}
# Rows of some orders only: a task that comes back makes them on a busy machine.
STRAY = 0.4
# Transactions that write any of them: of an order that is alone, each is a step of its life; and of fifty
# together for each, as far as a busy machine leaves them together: a quiet one shows 0.7.
STEPS, ALONE, TOGETHER_MAX = 9, 4, 2
# All other rows together for each of fifty: a quiet machine shows 1.2.
SHARED_MAX = 4


async def place(partner: Partner, count: int) -> Written:
    """Orders at the same time; what was written until all had ended."""
    number, postgres = partner.number(), partner.system.postgres
    start = await position(postgres)
    await asyncio.gather(*(partner.order(request_no=f"{number}-{i}") for i in range(count)))
    await partner.all_ended(f"{number}-", count)
    return await written(postgres, SERVICES, start, await position(postgres))


async def test_an_order_writes_the_rows_it_is_known_to_write(partner: Partner) -> None:
    await place(partner, BATCH)
    # A busy machine makes more rows of some orders, never fewer of any: of a few batches the leanest counts.
    leanest = dict.fromkeys(EACH, BATCH * 1.0)
    shared: list[int] = []
    fused: list[int] = []
    for _ in range(BATCHES_MAX):
        found = await place(partner, BATCH)
        each = {name: found.rows.pop(name, 0) / BATCH for name in EACH}
        leanest = {name: min(each[name], leanest[name]) for name in EACH}
        shared.append(found.rows.total())
        fused.append(steps(found))
        if leanest == pytest.approx(EACH, abs=STRAY):
            break
    assert leanest == pytest.approx(EACH, abs=STRAY)
    assert min(shared) <= SHARED_MAX * BATCH, found.rows
    assert min(fused) <= TOGETHER_MAX * BATCH


async def test_an_order_alone_takes_the_steps_it_is_known_to_take(partner: Partner) -> None:
    await place(partner, 1)
    found = [await place(partner, 1) for _ in range(ALONE)]
    assert min(map(steps, found)) == STEPS  # one more where a task came back


def steps(found: Written) -> int:
    return sum(not tables.isdisjoint(OWN) for tables in found.transactions.values())
