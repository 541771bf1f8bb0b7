"""Two writers of the same ends: the first wins whole, the second changes nothing of it, nobody dead-locks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from shoudan_delivery.states import Source, Status
from shoudan_delivery.store import deliveries as store
from shoudan_delivery.store.rows import Outcome, Verdict
from shoudan_fakes.choices import Knobs
from tests.delivery.conftest import House
from tests.poll import eventually

SUCCESS = "100011000000000"
ROUNDS = 50


async def sending(running: House, count: int) -> list[int]:
    """Numbers of deliveries whose calls are under way."""
    running.sandbox.supplier.knobs["slow"] = Knobs(latency_s=20)
    await running.apply("slow", timeout_s=30.0)
    await running.send(*[SUCCESS] * count, channel_no="slow")

    async def marked() -> bool:
        return len(await rows(running)) == count

    await eventually(marked)
    return [order_no for order_no, _ in await rows(running)]


async def rows(running: House) -> list[tuple[int, int]]:
    """Number and status of what was sent."""
    sql = "SELECT order_no, status FROM vds_order_info WHERE status <> 20 ORDER BY order_no"
    return [(row.order_no, row.status) for row in await running.rows(sql)]


def ends(order_nos: Sequence[int], status: Status) -> list[tuple[Outcome, Status, bool]]:
    """Findings that end these."""
    face = 100_000_000 if status is Status.SUCCEEDED else 0
    verdict = Outcome(0, Verdict.SUCCEEDED, Source.SYNC, succ_face_micros=face)
    return [(replace(verdict, order_no=no), status, False) for no in order_nos]


async def test_the_first_writer_wins_and_the_second_waits_for_it(running: House) -> None:
    one, two, three = await sending(running, 3)
    db = running.process.app.db
    async with db.begin() as first:
        moved = await store.end(first, ends([two, one], Status.SUCCEEDED))
        assert set(moved) == {one, two}

        async def second() -> set[int]:
            async with db.begin() as other:
                return set(await store.end(other, ends([three, two, one], Status.FAILED)))

        waiting = asyncio.create_task(second())
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done, "rows of a writer that is not done are waited for"
    assert await waiting == {three}
    assert await rows(running) == [(one, 0), (two, 0), (three, 90)]


async def test_writers_in_any_order_never_dead_lock(running: House) -> None:
    numbers = await sending(running, 5)
    db = running.process.app.db

    async def write(order_nos: Sequence[int]) -> int:
        moved = 0
        for _ in range(ROUNDS):
            async with db.begin() as own:
                moved += len(await store.end(own, ends(order_nos, Status.SUCCEEDED)))
        return moved

    found = await asyncio.gather(
        write(numbers), write(numbers[::-1]), write(numbers[2:] + numbers[:2])
    )
    assert sum(found) == len(numbers)
