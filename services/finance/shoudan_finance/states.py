"""The lifecycles of an accounting day and of a day of trades, as far as their facts are here."""

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


class TradeDayStatus(IntEnum):
    """trade_day.status."""

    FILLING = 10  # its trades are being fetched
    FETCHED = 15  # all are here; not all of their money is
    AGREES = 20  # the ledger moved what each trade says
    DIFFERS = 80  # it did not, though the day after is complete, too


class TradeDayEvent(StrEnum):
    """What can happen to a day of trades."""

    FETCHED = "all fetched"
    AGREED = "found to agree"
    DIFFERED = "found to differ"


TRADE_DAY: Final = Machine(
    name="day of trades",
    initial=TradeDayStatus.FILLING,
    moves={
        (TradeDayStatus.FILLING, TradeDayEvent.FETCHED): TradeDayStatus.FETCHED,
        (TradeDayStatus.FETCHED, TradeDayEvent.AGREED): TradeDayStatus.AGREES,
        (TradeDayStatus.FETCHED, TradeDayEvent.DIFFERED): TradeDayStatus.DIFFERS,
        (TradeDayStatus.DIFFERS, TradeDayEvent.AGREED): TradeDayStatus.AGREES,
        (TradeDayStatus.DIFFERS, TradeDayEvent.DIFFERED): TradeDayStatus.DIFFERS,
    },
)
