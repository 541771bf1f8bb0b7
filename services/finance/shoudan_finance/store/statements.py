"""Statements on files as they come, and on the statements that were made of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_finance.states import STATEMENT, Book, StatementEvent, StatementStatus
from shoudan_finance.tables import STATEMENT_TABLE
from shoudan_kit.db.columns import Rows, names_of, types
from shoudan_kit.db.text_statements import columns, statement, unnest

IMPORT_S_MAX: Final = 600  # of one import, which is one transaction
KEPT_S: Final = 86_400  # parts of which no statement was made
_SPACE: Final = 0x0F1A  # of advisory locks; any number, the same in every process
FORGET_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Statement:
    """One row of statement."""

    statement_id: int
    template: str
    source: str
    book: Book
    file_name: str
    sha256: bytes
    file_bytes: int
    entries: int
    duplicates: int
    skipped: int
    credits_micros: int
    debits_micros: int
    first_day: date | None
    last_day: date | None
    status: StatementStatus
    supersedes: int
    imported_by: str
    create_time: datetime
    supersede_time: datetime | None


_ROW: Final = Rows(Statement)
_GIVEN: Final = tuple(
    name for name in names_of(Statement) if name not in {"create_time", "supersede_time"}
)

_STORE_PART = statement("""
INSERT INTO statement_part (sha256, part_no, data, create_time)
VALUES (:sha256, :part_no, :data, shoudan_now()) ON CONFLICT DO NOTHING
""")
_PART = statement("""
SELECT data FROM statement_part WHERE sha256 = :sha256 AND part_no = :part_no
""")
# Parts stay as evidence once something refers to them, so only those of thirty days are looked at.
_FORGET = statement("""
WITH old AS (
    SELECT p.sha256, p.part_no FROM statement_part p
    WHERE p.create_time < shoudan_now() - CAST(:kept_s AS integer) * interval '1 second'
        AND p.create_time > shoudan_now() - CAST(:kept_s AS integer) * interval '30 seconds'
        AND (SELECT s.statement_id FROM statement s WHERE s.sha256 = p.sha256 LIMIT 1) IS NULL
        AND (SELECT n.note_id FROM exception_note n
            WHERE n.sha256 = p.sha256 AND n.sha256 <> '' LIMIT 1) IS NULL
        AND (SELECT d.dispute_id FROM dispute d
            WHERE d.answer_sha256 = p.sha256 AND d.answer_sha256 <> '' LIMIT 1) IS NULL
    ORDER BY p.create_time LIMIT :most
)
DELETE FROM statement_part p USING old WHERE p.sha256 = old.sha256 AND p.part_no = old.part_no
""")
# Off first: a limit that runs already is not moved by a new one. PostgreSQL 16 has none.
_ALLOW_TIME = statement("""
SELECT set_config(name, :most, true) FROM pg_settings WHERE name = 'transaction_timeout'
""")
_LOCK = statement("SELECT pg_advisory_xact_lock(:space, hashtext(:source))")
_ADD = statement(f"""
INSERT INTO statement ({", ".join(_GIVEN)}, create_time)
SELECT {", ".join(f"given.{one}" for one in _GIVEN)}, shoudan_now()
FROM {unnest(**types(STATEMENT_TABLE, *_GIVEN))}
RETURNING {_ROW.of()}
""")
_BY_FILE = statement(f"""
SELECT {_ROW.of()} FROM statement WHERE source = :source AND sha256 = :sha256
""")
_GET = statement(f"SELECT {_ROW.of()} FROM statement WHERE statement_id = :statement_id")
_PAGE = statement(f"""
SELECT {_ROW.of()} FROM statement WHERE statement_id < :before AND statement_id > 0
ORDER BY statement_id DESC LIMIT :most
""")
_PAGE_OF = statement(f"""
SELECT {_ROW.of()} FROM statement WHERE source = :source AND statement_id < :before
ORDER BY statement_id DESC LIMIT :most
""")
_SUPERSEDE = statement("""
UPDATE statement SET status = :status, supersede_time = shoudan_now()
WHERE statement_id = :statement_id AND source = :source
    AND status = ANY(CAST(:sources AS smallint[]))
RETURNING statement_id
""")


async def store_part(db: AsyncConnection, sha256: bytes, part_no: int, data: bytes) -> None:
    """Store a part; one that is there stays."""
    await db.execute(_STORE_PART, {"sha256": sha256, "part_no": part_no, "data": data})


async def part(db: AsyncConnection, sha256: bytes, part_no: int) -> bytes | None:
    """One part."""
    return (await db.execute(_PART, {"sha256": sha256, "part_no": part_no})).scalar_one_or_none()


async def forget_parts(db: AsyncConnection) -> None:
    """Delete old parts of files that no statement was made of, at most FORGET_MAX."""
    await db.execute(_FORGET, {"kept_s": KEPT_S, "most": FORGET_MAX})


async def allow_time(db: AsyncConnection) -> None:
    """Let this transaction take as long as a file of the most rows does: it is here whole or not at all."""
    for most in ("0", f"{IMPORT_S_MAX}s"):
        await db.execute(_ALLOW_TIME, {"most": most})


async def lock(db: AsyncConnection, source: str) -> None:
    """One import or run of a source at a time, to the end of the transaction."""
    await db.execute(_LOCK, {"space": _SPACE, "source": source})


async def add(db: AsyncConnection, one: Statement) -> Statement:
    """Store a statement; as it is stored."""
    return _ROW.read((await db.execute(_ADD, columns([one], *_GIVEN))).one())


async def by_file(db: AsyncConnection, source: str, sha256: bytes) -> Statement | None:
    """The statement that was made of a file."""
    return _ROW.one(await db.execute(_BY_FILE, {"source": source, "sha256": sha256}))


async def get(db: AsyncConnection, statement_id: int) -> Statement | None:
    """One statement."""
    return _ROW.one(await db.execute(_GET, {"statement_id": statement_id}))


async def page(db: AsyncConnection, source: str, before: int, most: int) -> list[Statement]:
    """Statements below a number, newest first; of one source, or of all."""
    binds = {"before": before, "most": most}
    if source:
        return _ROW.all(await db.execute(_PAGE_OF, {**binds, "source": source}))
    return _ROW.all(await db.execute(_PAGE, binds))


async def supersede(db: AsyncConnection, source: str, statement_id: int) -> bool:
    """A corrected statement takes its place; False when one did before, or it is another source's."""
    event = StatementEvent.CORRECTED
    binds = {
        "statement_id": statement_id,
        "source": source,
        "status": STATEMENT.target(event),
        "sources": list(STATEMENT.sources(event)),
    }
    return (await db.execute(_SUPERSEDE, binds)).first() is not None
