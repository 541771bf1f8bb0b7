"""Laws of what is stored, looked at while it is served: a broken one is found by us, not by finance.

A law is one statement that gives the rows breaking it, of the numbers asked about. Each process looks at
what changed since its last look and at a piece of everything else, further each time, so that its cost does
not follow the load: a busy hour is a sample, and all that is kept is looked at again in its turn.
Source: reliability.md §3.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import TextClause
from sqlalchemy.exc import DBAPIError

from shoudan_kit import ids, log, metrics
from shoudan_kit.clock import Clock
from shoudan_kit.db.pool import Database
from shoudan_kit.db.text_statements import statement

EVERY_S: Final = 20
MOST: Final = 500  # changed ones of one look, and as many of all others
LATE: Final = timedelta(
    seconds=10
)  # a transaction may become seen so long after it took its numbers
KNOWN_MAX: Final = 100  # broken ones of one law that are looked at again until they are mended

_READ_ONLY: Final = statement("SET TRANSACTION READ ONLY")
_SHORT: Final = statement("SET LOCAL statement_timeout = 2000")

LAW_BROKEN: Final = metrics.worst(
    "law_broken",
    f"Rows that this process knows to break a law; {KNOWN_MAX} stands for that many or more.",
    ("law",),
)
LAW_LOOKS_FAILED_TOTAL: Final = metrics.counter(
    "law_looks_failed_total", "Looks at a law that gave no answer, in time or at all.", ("law",)
)

_log = log.get_logger("laws")


@dataclass(frozen=True, slots=True)
class Law:
    """`statement` gives `id` and `what`, in words, of the `:ids` that break it; `name` is its label."""

    name: str
    says: str
    statement: TextClause


@dataclass(frozen=True, slots=True)
class Subject:
    """Things with numbers, and the laws about them.

    `changed` gives `id` of those with something newer than the number `:after`, the newest `:most`;
    `walked` the next `:most` ones after `:after`.
    """

    changed: TextClause
    walked: TextClause
    laws: Sequence[Law]


@dataclass(slots=True)
class _Walk:
    """How far the look at everything has come; it begins anywhere, so that processes share the way."""

    after: int = field(default_factory=lambda: random.getrandbits(63))
    known: dict[str, set[int]] = field(default_factory=dict[str, set[int]])


class LawWatch:
    """Looks at the laws of one database, every EVERY_S."""

    def __init__(self, db: Database, clock: Clock, subjects: Sequence[Subject]) -> None:
        self._db, self._clock = db, clock
        self._walks = [(subject, _Walk()) for subject in subjects]
        self._looked_at = clock.now() - timedelta(seconds=EVERY_S)

    async def run(self) -> None:
        """For as long as the process serves."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.look()

    async def look(self) -> None:
        """One look at all laws; what cannot be read now is counted, and looked at next time."""
        since, self._looked_at = self._looked_at - LATE, self._clock.now()
        for subject, walk in self._walks:
            try:
                found = await self._found(subject, walk, ids.first_of(since))
            except (DBAPIError, OSError, TimeoutError) as error:
                for law in subject.laws:
                    self._failed(law, error)
                continue
            for law in subject.laws:
                await self._hold(law, walk, found)

    async def _found(self, subject: Subject, walk: _Walk, since: int) -> list[int]:
        changed = await self._ids(subject.changed, since)
        walked = await self._ids(subject.walked, walk.after)
        walk.after = max(walked, default=0) if len(walked) == MOST else 0
        return sorted({*changed, *walked})

    async def _ids(self, look: TextClause, after: int) -> list[int]:
        rows = await self._rows(look, after=after, most=MOST)
        return [row.id for row in rows]

    async def _hold(self, law: Law, walk: _Walk, found: Sequence[int]) -> None:
        """Ask about these and those known to break it; say what is new."""
        known = walk.known.setdefault(law.name, set())
        try:
            rows = await self._rows(law.statement, ids=sorted({*found, *known}))
        except (DBAPIError, OSError, TimeoutError) as error:
            self._failed(law, error)
            return
        kept = rows[:KNOWN_MAX]
        for row in kept:
            if row.id not in known:
                _log.error("law_broken", law=law.name, id=row.id, what=row.what)
        walk.known[law.name] = {row.id for row in kept}
        LAW_BROKEN(law.name).set(len(walk.known[law.name]))

    def _failed(self, law: Law, error: BaseException) -> None:
        LAW_LOOKS_FAILED_TOTAL(law.name).inc()
        _log.warning("law_not_seen", law=law.name, error=type(error).__name__)

    async def _rows(self, look: TextClause, **given: Any) -> Sequence[Any]:
        async with self._db.begin() as db:
            await db.execute(_READ_ONLY)
            await db.execute(_SHORT)
            return (await db.execute(look, given)).all()
