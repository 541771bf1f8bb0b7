"""The lifecycle of an accounting day, as far as its facts are here."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final

from shoudan_kit.state_machine import Machine


class DayStatus(IntEnum):
    """finance_day.status."""

    FILLING = 10  # its movements are being fetched
    COMPLETE = 20  # they are proved to be the ledger's
    DIFFERS = 80  # they are not what the ledger closed the day with


class DayEvent(StrEnum):
    """What can happen to a day."""

    PROVED = "proved"
    DISPROVED = "found to differ"


DAY: Final = Machine(
    name="day of the books",
    initial=DayStatus.FILLING,
    moves={
        (DayStatus.FILLING, DayEvent.PROVED): DayStatus.COMPLETE,
        (DayStatus.FILLING, DayEvent.DISPROVED): DayStatus.DIFFERS,
        (DayStatus.DIFFERS, DayEvent.PROVED): DayStatus.COMPLETE,
        (DayStatus.DIFFERS, DayEvent.DISPROVED): DayStatus.DIFFERS,
    },
)
