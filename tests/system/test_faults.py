"""Killed in the middle: every order still ends, once, and the ledger adds up."""

from __future__ import annotations

import asyncio

import pytest

from shoudan_cli.wiring import GATEWAY
from tests.system import invariants

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(240)]

ORDERS = 200
AT_ONCE = 20
KILL_AFTER = 60


async def place(partner, prefix: str, harm) -> None:
    """Place the orders, as a stubborn partner; `harm` is done when a part of them is placed."""
    room, placed, now = asyncio.Semaphore(AT_ONCE), 0, asyncio.Event()

    async def one(number: int) -> None:
        nonlocal placed
        async with room:
            await partner.order_again_and_again(f"{prefix}-{number}")
        placed += 1
        if placed >= KILL_AFTER:
            now.set()

    async def do_harm() -> None:
        await now.wait()
        await harm()

    await asyncio.gather(do_harm(), *(one(number) for number in range(ORDERS)))


async def all_is_well(partner, prefix: str) -> None:
    await partner.all_ended(f"{prefix}-", ORDERS)
    await partner.ledger_is_whole()
    await invariants.check(partner.system)


@pytest.mark.parametrize("victim", ["order", "pay", "delivery", GATEWAY, "nats"])
async def test_a_killed_process_loses_no_order(partner, system, victim) -> None:
    prefix = f"{partner.number()}-{victim}"

    async def harm() -> None:
        await system.kill(victim)

    await place(partner, prefix, harm)
    await system.wait_healthy(victim)
    await all_is_well(partner, prefix)


async def test_a_killed_database_is_come_back_to(partner, system) -> None:
    prefix = f"{partner.number()}-postgres"

    async def harm() -> None:
        await system.kill("postgres")
        await system.wait_healthy("postgres")

    await place(partner, prefix, harm)
    await all_is_well(partner, prefix)
