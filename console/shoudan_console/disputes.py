"""A dispute as pages show it: in its list, on its own page, and beside the differences it is about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from shoudan_console.system_time import now
from shoudan_console.values import Status, moment_of
from shoudan_console.values import mark as _
from shoudan_kit.clock import BEIJING

PATH: Final = "/finance/disputes"
OPEN: Final = 10
WAITS: Final = (_("Not answered yet"), "busy")
OVERDUE: Final = (_("Overdue"), "bad")
ANSWERED: Final = (_("Answered"), "good")


@dataclass(frozen=True, slots=True)
class Row:
    """One dispute."""

    dispute_id: int
    source: str
    status: Status
    letter: str
    deadline: str
    answer: str
    answer_sha256: str
    exceptions: int
    diff_micros: int
    by: str
    create_time: datetime
    answer_time: datetime | None

    @property
    def path(self) -> str:
        return f"{PATH}/{self.dispute_id}"

    @property
    def open(self) -> bool:
        return self.status.number == OPEN


def row_of(one: Any) -> Row:
    """A dispute as the service gives it; overdue by Beijing's day."""
    today = now().astimezone(BEIJING).date().isoformat()
    word = (OVERDUE if one.deadline < today else WAITS) if one.status == OPEN else ANSWERED
    return Row(
        one.dispute_id,
        one.source,
        Status(*word, one.status),
        one.letter,
        one.deadline,
        one.answer,
        one.answer_sha256.hex(),
        one.exceptions,
        one.diff_micros,
        one.by,
        one.create_time.ToDatetime(UTC),
        moment_of(one.answer_time),
    )
