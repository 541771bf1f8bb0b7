"""The background of proposals: ends what was not decided in time, and shows how many are open."""

from __future__ import annotations

import asyncio
from typing import Final

from shoudan_kit import log, metrics
from shoudan_kit.db.errors import survived
from shoudan_kit.proposals import store
from shoudan_kit.proposals.proposals import Proposals

EVERY_S: Final = 10.0
COUNT_MAX: Final = 10_000  # beyond it the alert is the same

OPEN: Final = metrics.total(
    "open_proposals", f"Proposals that wait for a second person, at most {COUNT_MAX}."
)
OPEN_AGE_SECONDS: Final = metrics.worst(
    "open_proposals_age_seconds", "How long the oldest waits; 0 when none does."
)

_log = log.get_logger("proposals")


async def watch(proposals: Proposals) -> None:
    """Look every EVERY_S seconds; a failed look is logged, and looked again."""
    while True:
        with survived(_log, "proposals_not_looked_at"):
            await look(proposals)
        await asyncio.sleep(EVERY_S)


async def look(proposals: Proposals) -> None:
    """One look."""
    await proposals.expire()
    await proposals.make_left()
    app = proposals.app
    async with app.db.connect() as db:
        count, oldest = await store.count(db, COUNT_MAX)
    age_s = 0.0 if oldest is None else (app.clock.now() - oldest).total_seconds()
    OPEN().set(count)
    OPEN_AGE_SECONDS().set(max(0.0, age_s))
