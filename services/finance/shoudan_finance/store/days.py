"""Statements on accounting days and on what they came to in each account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_finance.states import DAY, DayEvent, DayStatus
from shoudan_finance.tables import ACCOUNT_FACT, FINANCE_DAY, OPEN
from shoudan_kit.db.columns import Rows, literal, names_of, types
from shoudan_kit.db.text_statements import columns, statement, unnest

TEXT_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Closed:
    """A day as the ledger closed it."""

    day: date
    accounts: int
    movements: int
    debits_micros: int
    credits_micros: int
    close_time: datetime


@dataclass(frozen=True, slots=True)
class Day:
    """One row of finance_day."""

    day: date
    status: DayStatus
    accounts: int
    movements: int
    debits_micros: int
    credits_micros: int
    close_time: datetime
    create_time: datetime
    prove_time: datetime | None
    digest: bytes
    what: str


@dataclass(frozen=True, slots=True)
class AccountFact:
    """One row of account_fact."""

    day: date
    account_id: int
    ident: str
    groups: str
    eid: str
    name: str
    seq_from: int
    seq_to: int
    opening_micros: int
    debits_micros: int
    credits_micros: int
    closing_micros: int
    head_hash: bytes


_DAY: Final = Rows(Day)
_FACT: Final = Rows(AccountFact)

_NOTE = statement(f"""
INSERT INTO finance_day (day, status, accounts, movements, debits_micros, credits_micros, close_time,
    create_time, digest, what)
SELECT given.day, {literal(DAY.initial)}, given.accounts, given.movements, given.debits_micros,
    given.credits_micros, given.close_time, shoudan_now(), '', ''
FROM {unnest(**types(FINANCE_DAY, *names_of(Closed)))}
ON CONFLICT DO NOTHING RETURNING day
""")
_LAST = statement("SELECT day FROM finance_day ORDER BY day DESC LIMIT 1")
# Of each status apart, so that days that differ for long keep no new one from being filled.
_OPEN = statement(
    " UNION ALL ".join(
        f"(SELECT day FROM finance_day WHERE status IN ({OPEN}) AND status = {literal(one)}"
        " ORDER BY day LIMIT :most)"
        for one in sorted(DAY.states - DAY.final)
    )
)
# Whole seconds; none without such a day.
_WAITS = statement(f"""
SELECT extract(epoch FROM shoudan_now() - close_time)::bigint FROM finance_day
WHERE status IN ({OPEN}) ORDER BY day LIMIT 1
""")
_GET = statement(f"SELECT {_DAY.of()} FROM finance_day WHERE day = CAST(:day AS date)")
_PAGE = statement(f"""
SELECT {_DAY.of()} FROM finance_day WHERE day > CAST(:after AS date) ORDER BY day LIMIT :most
""")
# A day that is complete stays so, whatever a process that was held up found.
_PROVED = statement("""
UPDATE finance_day SET status = :status, prove_time = shoudan_now(), digest = :digest, what = :what
WHERE day = CAST(:day AS date) AND status = ANY(CAST(:sources AS smallint[])) RETURNING day
""")

_ADD = statement(f"""
INSERT INTO account_fact ({_FACT.of()})
SELECT {_FACT.of("given")} FROM {unnest(**types(ACCOUNT_FACT, *_FACT.names))}
ON CONFLICT DO NOTHING
""")
_REACHED = statement("""
SELECT account_id FROM account_fact WHERE day = CAST(:day AS date) ORDER BY account_id DESC LIMIT 1
""")
_ACCOUNTS = statement(f"""
SELECT {_FACT.of()} FROM account_fact
WHERE day = CAST(:day AS date) AND account_id > :after ORDER BY account_id LIMIT :most
""")


async def note(db: AsyncConnection, closed: Sequence[Closed]) -> list[date]:
    """Store closed days; gives those that were not known."""
    return list((await db.execute(_NOTE, columns(closed, *names_of(Closed)))).scalars())


async def last(db: AsyncConnection) -> date | None:
    """The newest day that is known."""
    return (await db.execute(_LAST)).scalar_one_or_none()


async def incomplete(db: AsyncConnection, most: int) -> list[date]:
    """Days that are not complete, the oldest of each status, at most `most` of each."""
    return list((await db.execute(_OPEN, {"most": most})).scalars())


async def incomplete_s(db: AsyncConnection) -> int:
    """Seconds since the oldest day that is not complete was closed; 0 when all are."""
    return (await db.execute(_WAITS)).scalar() or 0


async def get(db: AsyncConnection, day: date) -> Day | None:
    """One day."""
    return _DAY.one(await db.execute(_GET, {"day": day}))


async def page(db: AsyncConnection, after: date, most: int) -> list[Day]:
    """Days behind `after`, oldest first."""
    return _DAY.all(await db.execute(_PAGE, {"after": after, "most": most}))


async def proved(db: AsyncConnection, day: date, digest: bytes) -> bool:
    """The day is complete; False when it was before."""
    return await _moved(db, day, DayEvent.PROVED, digest, "")


async def disproved(db: AsyncConnection, day: date, what: str) -> bool:
    """The day differs; False when it is complete."""
    return await _moved(db, day, DayEvent.DISPROVED, b"", what[:TEXT_MAX])


async def _moved(db: AsyncConnection, day: date, event: DayEvent, digest: bytes, what: str) -> bool:
    binds = {
        "day": day,
        "status": DAY.target(event),
        "sources": list(DAY.sources(event)),
        "digest": digest,
        "what": what,
    }
    return (await db.execute(_PROVED, binds)).first() is not None


async def add_accounts(db: AsyncConnection, facts: Sequence[AccountFact]) -> None:
    """Store what days came to in accounts; those that are there stay."""
    await db.execute(_ADD, columns(facts, *_FACT.names))


async def account_reached(db: AsyncConnection, day: date) -> int:
    """The last account of the day whose movements are all here; 0 before the first."""
    return (await db.execute(_REACHED, {"day": day})).scalar() or 0


async def accounts(db: AsyncConnection, day: date, *, after: int, most: int) -> list[AccountFact]:
    """What the day came to in accounts behind `after`, by id."""
    binds = {"day": day, "after": after, "most": most}
    return _FACT.all(await db.execute(_ACCOUNTS, binds))
