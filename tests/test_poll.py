"""Promises of what tests wait with."""

from __future__ import annotations

import time

from tests.poll import LATE_S_MAX, eventually, own_time

AWAY_S = 0.5


async def test_own_time_is_the_clocks_without_what_was_taken_away() -> None:
    async with own_time() as took:
        until = time.monotonic() + AWAY_S
        await eventually(lambda: time.monotonic() > until)
        waited = took()
        assert waited > 3 * LATE_S_MAX
        until = time.monotonic() + AWAY_S
        while time.monotonic() < until:  # nothing else runs, as on a busy machine
            pass
        assert took() - waited <= 2 * LATE_S_MAX
