"""How values are written for people: money exact, times of Beijing, statuses by word, colour and icon."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from shoudan_kit.clock import beijing
from shoudan_kit.money import micros_to_yuan

MICROS: Final = 1_000_000
FEN_DIGITS: Final = 2
PPM_PERCENT: Final = 10_000
LASTING_MAX_S: Final = 999 * 86_400
_SPREADSHEET: Final = ("=", "+", "-", "@", "\t", "\r")


def mark(text: str) -> str:
    """Names a text to be translated where it is shown."""
    return text


@dataclass(frozen=True, slots=True)
class Status:
    """A state as people see it: never by colour alone. `tone` is good, busy, warn, bad or idle."""

    word: str
    tone: str
    number: int | None = None

    @property
    def icon(self) -> str:
        return ICONS[self.tone]


ICONS: Final = {"good": "✓", "busy": "…", "warn": "!", "bad": "✗", "idle": "–"}


def money(micros: int) -> str:
    """`¥1,234.56`: exact to the fen, with further digits only where there are any."""
    whole, part = divmod(abs(micros), MICROS)
    digits = f"{part:06d}".rstrip("0").ljust(FEN_DIGITS, "0")
    return f"{'-' if micros < 0 else ''}¥{whole:,}.{digits}"


def plain_money(micros: int) -> str:
    """The same for programs: 1234.56."""
    return micros_to_yuan(micros)


def moment_of(stamp: Timestamp) -> datetime | None:
    """The moment of a message's field; None where it is not set."""
    return stamp.ToDatetime(UTC) if stamp.seconds or stamp.nanos else None


def shown(moment: datetime | None) -> str:
    """A moment in Beijing time; nothing for none."""
    return beijing(moment) if moment is not None else ""


def utc(moment: datetime) -> str:
    """The same moment for who works with logs."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(moment: datetime) -> str:
    """For the attribute `datetime` of an element."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def age(since: datetime, now: datetime) -> str:
    """How long ago, in its two largest units: `3d 4h`."""
    seconds = max(0, int((now - since).total_seconds()))
    parts = ((seconds // 86_400, "d"), (seconds // 3_600 % 24, "h"), (seconds // 60 % 60, "min"))
    found = [f"{count}{unit}" for count, unit in parts if count]
    return " ".join(found[:2]) or f"{seconds}s"


def lasting(seconds: int) -> str:
    """How long something lasts, in its two largest units."""
    start = datetime(2000, 1, 1, tzinfo=UTC)
    return age(start, start + timedelta(seconds=min(seconds, LASTING_MAX_S)))


def percent(part: int, whole: int) -> str:
    """`98.7%`, cut and not rounded: 100% means all of them."""
    if not whole:
        return "–"
    mille = part * 1_000 // whole
    return f"{mille // 10}.{mille % 10}%"


def ppm_percent(ppm: int) -> str:
    """`99.00%`, exact to what is set: parts per million are four digits of a percent."""
    whole, part = divmod(abs(ppm), PPM_PERCENT)
    digits = f"{part:04d}".rstrip("0").ljust(2, "0")
    return f"{'-' if ppm < 0 else ''}{whole}.{digits}%"


def cell_text(value: Any, kind: str) -> str:
    """A value of a list as a spreadsheet may read it: no text of others becomes a formula there."""
    if value is None:
        return ""
    match kind:
        case "money":
            return plain_money(value)
        case "time":
            return shown(value)
        case "number":
            return str(value)
        case _:
            text = str(value)
            return f"'{text}" if text.startswith(_SPREADSHEET) else text
