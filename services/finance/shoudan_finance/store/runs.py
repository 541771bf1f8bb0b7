"""Statements on runs of the reconciliation, and on the days of which our side is here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_finance.states import RUN, RunEvent, RunStatus, StatementStatus, TradeDayStatus
from shoudan_kit.db.columns import Rows, literal, literals, names_of
from shoudan_kit.db.text_statements import statement

TEXT_MAX: Final = 256
_HERE: Final = literals(sorted({*TradeDayStatus} - {TradeDayStatus.FILLING}))


@dataclass(slots=True)
class Counts:
    """What a run found."""

    ours: int = 0
    theirs: int = 0
    matched: int = 0
    late: int = 0
    longs: int = 0
    shorts: int = 0
    amounts: int = 0
    outcomes: int = 0
    settlements: int = 0
    settled: int = 0
    awaiting: int = 0
    uncovered: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """One row of reconcile_run."""

    run_id: int
    source: str
    status: RunStatus
    asked_by: str
    ours: int
    theirs: int
    matched: int
    late: int
    longs: int
    shorts: int
    amounts: int
    outcomes: int
    settlements: int
    settled: int
    awaiting: int
    uncovered: int
    what: str
    create_time: datetime
    end_time: datetime | None


@dataclass(frozen=True, slots=True)
class Covered:
    """The days of one statement, and the template it was read with."""

    template: str
    first_day: date
    last_day: date


@dataclass(frozen=True, slots=True)
class Day:
    """A day of trades that are here, and whether our side has its entries."""

    day: date
    entries: int | None


_RUN: Final = Rows(Run)
_COUNTS: Final = names_of(Counts)

_ADD = statement(f"""
INSERT INTO reconcile_run (run_id, source, status, asked_by, {", ".join(_COUNTS)}, what, create_time)
VALUES (:run_id, :source, {literal(RUN.initial)}, :asked_by, {", ".join("0" for _ in _COUNTS)}, '',
    shoudan_now())
""")
_END = statement(f"""
UPDATE reconcile_run SET {", ".join(f"{one} = CAST(:{one} AS bigint)" for one in _COUNTS)},
    status = :status, what = :what, end_time = shoudan_now()
WHERE run_id = :run_id AND status = ANY(CAST(:sources AS smallint[]))
RETURNING run_id
""")
_GET = statement(f"SELECT {_RUN.of()} FROM reconcile_run WHERE run_id = :run_id")
_PAGE = statement(f"""
SELECT {_RUN.of()} FROM reconcile_run WHERE run_id < :before AND run_id > 0
ORDER BY run_id DESC LIMIT :most
""")
_PAGE_OF = statement(f"""
SELECT {_RUN.of()} FROM reconcile_run WHERE source = :source AND run_id < :before
ORDER BY run_id DESC LIMIT :most
""")
_COVERED = statement(f"""
SELECT template, first_day, last_day FROM statement
WHERE source = :source AND statement_id < :before AND first_day IS NOT NULL
    AND status = {literal(StatementStatus.IMPORTED)}
ORDER BY statement_id DESC LIMIT :most
""")
_DAYS = statement(f"""
SELECT t.day, r.entries FROM trade_day t
LEFT JOIN LATERAL (
    SELECT d.entries FROM reconcile_day d WHERE d.source = :source AND d.day = t.day
) r ON true
WHERE t.day >= CAST(:from_day AS date) AND t.day <= CAST(:to_day AS date) AND t.status IN ({_HERE})
ORDER BY t.day LIMIT :most
""")
_TOOK = statement("""
INSERT INTO reconcile_day (source, day, entries, create_time)
VALUES (:source, CAST(:day AS date), :entries, shoudan_now()) ON CONFLICT DO NOTHING
""")
# From one source to the next along the index: as many steps as there are sources.
_SOURCES = statement("""
SELECT s.source FROM statement s WHERE s.source > :after ORDER BY s.source LIMIT 1
""")
# One that failed is no run: the next look asks for another one.
_LAST = statement(f"""
SELECT create_time > shoudan_now() - CAST(:every_s AS integer) * interval '1 second'
    AND status <> {literal(RunStatus.FAILED)}
FROM reconcile_run WHERE source = :source ORDER BY run_id DESC LIMIT 1
""")
_FAILED_SOURCES = statement(f"""
SELECT count(*) FROM (
    SELECT DISTINCT f.source FROM reconcile_run f
    WHERE f.status = {literal(RunStatus.FAILED)} AND f.run_id > :since AND NOT EXISTS (
        SELECT FROM reconcile_run n WHERE n.source = f.source AND n.run_id > f.run_id
            AND n.status = {literal(RunStatus.DONE)})
    LIMIT :most
) failed
""")


async def add(db: AsyncConnection, run_id: int, source: str, asked_by: str) -> None:
    """Store that a run is to be made."""
    await db.execute(_ADD, {"run_id": run_id, "source": source, "asked_by": asked_by})


async def end(
    db: AsyncConnection, run_id: int, event: RunEvent, counts: Counts, what: str = ""
) -> bool:
    """Store what a run found; False when it had ended before."""
    binds = {
        **{name: getattr(counts, name) for name in _COUNTS},
        "run_id": run_id,
        "status": RUN.target(event),
        "sources": list(RUN.sources(event)),
        "what": what[:TEXT_MAX],
    }
    return (await db.execute(_END, binds)).first() is not None


async def get(db: AsyncConnection, run_id: int) -> Run | None:
    """One run."""
    return _RUN.one(await db.execute(_GET, {"run_id": run_id}))


async def page(db: AsyncConnection, source: str, before: int, most: int) -> list[Run]:
    """Runs below a number, newest first; of one source, or of all."""
    binds = {"before": before, "most": most}
    if source:
        return _RUN.all(await db.execute(_PAGE_OF, {**binds, "source": source}))
    return _RUN.all(await db.execute(_PAGE, binds))


async def covered(db: AsyncConnection, source: str, before: int, most: int) -> list[Covered]:
    """What the newest statements of a source cover."""
    binds = {"source": source, "before": before, "most": most}
    return Rows(Covered).all(await db.execute(_COVERED, binds))


async def trade_days(
    db: AsyncConnection, source: str, first: date, last: date, most: int
) -> list[Day]:
    """Days of which all trades are here, and how many entries of ours each has; None before."""
    binds = {"source": source, "from_day": first, "to_day": last, "most": most}
    return Rows(Day).all(await db.execute(_DAYS, binds))


async def took(db: AsyncConnection, source: str, day: date, entries: int) -> None:
    """Our side of the day is here."""
    await db.execute(_TOOK, {"source": source, "day": day, "entries": entries})


async def sources(db: AsyncConnection, most: int) -> Sequence[str]:
    """Sources that have statements, at most so many."""
    found, after = list[str](), ""
    while len(found) < most:
        one = (await db.execute(_SOURCES, {"after": after})).scalar_one_or_none()
        if one is None:
            break
        found.append(one)
        after = one
    return found


async def ran_within(db: AsyncConnection, source: str, every_s: int) -> bool:
    """Whether a run of the source began in these seconds, and has not failed."""
    return bool((await db.execute(_LAST, {"source": source, "every_s": every_s})).scalar())


async def failed_sources(db: AsyncConnection, since: int, most: int) -> int:
    """Sources with a run behind a number that failed and none after it that ended; at most `most`."""
    binds = {"since": since, "most": most}
    return (await db.execute(_FAILED_SOURCES, binds)).scalar_one()
