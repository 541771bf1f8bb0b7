"""The stores in memory mean what PostgreSQL means: every statement of a run, played once more there.

This is what the simulation stands on. The statements, their binds and their order are those that the product
sent in a run with faults; answers and rows must be equal, to the last column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg
import pytest

from shoudan_kit.embedded import DatabaseUrls
from tests.simulation.plan import Size
from tests.simulation.replay import CLOCK, Replay, dsn
from tests.simulation.run import Run
from tests.simulation.store import MEANINGS
from tests.simulation.system import quiet

SMALL: Final = Size(orders=60, batch=6, faults=20, seconds=120.0)
RARE_MAX: Final = 18  # statements of some sixty that one small run may not come to


@pytest.mark.timeout(600)
@pytest.mark.slow
async def test_every_statement_means_what_it_means_in_postgresql(
    database: Callable[[str], Awaitable[DatabaseUrls]],
) -> None:
    quiet()
    run = Run(5, SMALL)
    for store in run.system.stores:
        store.tape = []
    opened = {name: dict(t.rows) for name, t in run.system.pay_store.tables.items()}
    outcome = run.go()
    assert not outcome.broken
    played: Counter[str] = Counter()
    for store in run.system.stores:
        urls = await database(store.name)
        owner = await asyncpg.connect(dsn(urls.owner))
        await owner.execute(CLOCK)
        if store.name == "pay":
            for row in opened["account_info"].values():
                names = list(row)
                places = ", ".join(f"${at + 1}" for at in range(len(names)))
                await owner.execute(
                    "SELECT set_config('sim.now', '2026-11-02T01:00:00+00:00', false)"
                )
                await owner.execute(
                    f"INSERT INTO account_info ({', '.join(names)}) VALUES ({places})",
                    *row.values(),
                )
        await owner.close()
        replay = Replay(urls.service, store)
        await replay.play()
        assert not replay.differences, "\n".join(replay.differences)
        rows = await replay.compare_tables()
        assert not replay.differences, "\n".join(replay.differences)
        assert rows > 100, store.name
        played += replay.played
    never = [" ".join(sql.split())[:100] for sql in MEANINGS if sql not in played]
    assert len(never) <= RARE_MAX, never
