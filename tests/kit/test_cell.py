"""Promises of a process with several shards: a gauge shows all of them, and what is once is one object."""

from __future__ import annotations

import asyncio

from shoudan_kit import metrics
from shoudan_kit.config import ServiceSettings
from shoudan_kit.db.shard_map import Home
from shoudan_kit.service import App

LAG = metrics.worst("test_cells_lag_seconds", "A lag.", ("kind",))
ROWS = metrics.total("test_cells_rows", "Rows.")
DONE = metrics.least("test_cells_done_seconds", "When it was done.")


def shown(name: str) -> float | None:
    return metrics.REGISTRY.get_sample_value(name, {"kind": "a"} if "lag" in name else {})


async def test_a_gauge_of_several_shards_shows_the_worst_the_least_or_the_sum() -> None:
    async def look(lag: float, rows: float) -> None:
        LAG("a").set(lag)
        ROWS().set(rows)
        DONE().set(rows)

    async def looked(shard: int, lag: float, rows: float) -> None:
        with metrics.cell(shard):
            task = asyncio.create_task(look(lag, rows))  # what a cell begins is the cell's
        await task

    await asyncio.gather(looked(0, 1, 10), looked(1, 7, 20), looked(2, 3, 30))
    assert (shown("shoudan_test_cells_lag_seconds"), shown("shoudan_test_cells_rows")) == (7, 60)
    assert shown("shoudan_test_cells_done_seconds") == 10
    await looked(1, 0, 0)
    assert (shown("shoudan_test_cells_lag_seconds"), shown("shoudan_test_cells_rows")) == (3, 40)
    assert shown("shoudan_test_cells_done_seconds") == 0


async def test_what_a_process_has_once_is_made_once_and_closed_by_the_first() -> None:
    settings = ServiceSettings.load(
        "any", environ={"SHOUDAN_DATABASE_URL": "postgresql://a@localhost/b"}
    )
    first: App[ServiceSettings] = App("any", settings, home=Home(0, 2, 1))
    second: App[ServiceSettings] = App("any", settings, home=Home(1, 2, 1), first=first)
    assert first.once(list, list) is second.once(list, list)
    assert (first.bus, first.tokens) == (second.bus, second.tokens)
    assert first.bus is second.bus
    assert first.db is not second.db
    await second.close()
    await first.close()
