"""What one book says of one movement of money, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shoudan_finance.states import EntryKind, Outcome


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a statement, or a trade of ours, as it was read."""

    row_no: int
    source: str
    kind: EntryKind
    our_no: str
    their_no: str
    settle_no: str
    account: str
    face_micros: int
    amount_micros: int
    outcome: Outcome
    happen_time: datetime
    trade_no: int = 0  # of ours

    @property
    def content(self) -> str:
        """What is the same when another file has the same line."""
        parts = (
            int(self.kind),
            self.our_no,
            self.their_no,
            self.settle_no,
            self.account,
            self.face_micros,
            self.amount_micros,
            int(self.outcome),
            int(self.happen_time.timestamp()),
        )
        return "\x1f".join(map(str, parts))
