"""The kinds of background work of the ledger, as data."""

from __future__ import annotations

from typing import Final

import msgspec

from shoudan_kit.tasks.kinds import Kind


class Prove(msgspec.Struct, frozen=True):
    """Prove all accounts; the time of day is the task's order_no."""


class CloseDay(msgspec.Struct, frozen=True):
    """Close the accounting days that are over."""


# Never finished, always had back a day later: it may not run out of days or counts.
PROVE: Final = Kind(
    "ledger.prove",
    Prove,
    "ledger:prove",
    interval_s=600,
    deadline_s=100 * 366 * 86_400,
    count_max=10_000_000,
    exclusive=True,
    each=True,
)

CLOSE_DAY: Final = Kind(
    "ledger.close_day",
    CloseDay,
    "ledger:close_day",
    interval_s=600,
    deadline_s=100 * 366 * 86_400,
    count_max=10_000_000,
    exclusive=True,
    each=True,
)
