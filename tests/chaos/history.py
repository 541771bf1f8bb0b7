"""What the partners saw: every call and every notify, in the order they ended."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

OK, REFUSED, UNCLEAR = "ok", "refused", "unclear"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a partner and what came of it; `key` is the request_no, of a refund with its refund_no."""

    at_s: float
    what: str  # order, query, refund, differs
    key: str
    end: str
    order_id: str = ""
    status: int | None = None
    code: int | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """One notify; `acknowledged`: what it was answered says so."""

    at_s: float
    key: str
    status: int
    acknowledged: bool


@dataclass
class History:
    """All of a run."""

    calls: list[Call] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    pushes: list[bytes] = field(default_factory=list)  # digests of those acknowledged
    strange: list[str] = field(default_factory=list)  # answers that no document knows
    _began: float = field(default_factory=time.monotonic)

    def now_s(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._began

    def by_key(self, what: str) -> dict[str, list[Call]]:
        """Calls of a kind, by what they were about."""
        found: dict[str, list[Call]] = defaultdict(list)
        for one in self.calls:
            if one.what == what:
                found[one.key].append(one)
        return found

    def accepted(self, what: str = "order") -> dict[str, Call]:
        """The first answer of each that was taken."""
        found: dict[str, Call] = {}
        for one in self.calls:
            if one.what == what and one.end == OK:
                found.setdefault(one.key, one)
        return found

    def lines(self) -> Iterator[str]:
        """For a file."""
        for one in (*self.calls, *self.letters):
            yield json.dumps({type(one).__name__.lower(): asdict(one)}, ensure_ascii=False)

    def write(self, file: Path) -> None:
        """One JSON object a line."""
        file.write_text("\n".join(self.lines()) + "\n", "utf-8")
