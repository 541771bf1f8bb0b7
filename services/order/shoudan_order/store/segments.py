"""Statements on the table of number segments: one row, read whole by version, exchanged whole."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.text_statements import statement

_VERSION = statement("SELECT version FROM oms_segment_table WHERE one")
_CONTENT = statement("SELECT version, content FROM oms_segment_table WHERE one")
_IMPORT = statement("SELECT version, made_by, import_time FROM oms_segment_table WHERE one")
# One writer at a time: the row is the lock and the number. The same again is no new version.
_EXCHANGE: Final = statement("""
INSERT INTO oms_segment_table AS t (one, version, content, made_by, import_time)
VALUES (true, 1, :content, :made_by, shoudan_now())
ON CONFLICT (one) DO UPDATE SET version = t.version + 1, content = excluded.content,
    made_by = excluded.made_by, import_time = excluded.import_time
WHERE t.content <> excluded.content
RETURNING version
""")


@dataclass(frozen=True, slots=True)
class Import:
    """Who imported the newest version, and when."""

    version: int
    made_by: str
    import_time: datetime


async def version(db: AsyncConnection) -> int:
    """The newest version; 0 before the first."""
    return (await db.execute(_VERSION)).scalar() or 0


async def content(db: AsyncConnection) -> tuple[int, bytes] | None:
    """The newest version and what it holds."""
    row = (await db.execute(_CONTENT)).first()
    return None if row is None else (row.version, bytes(row.content))


async def last_import(db: AsyncConnection) -> Import | None:
    """The newest version's."""
    row = (await db.execute(_IMPORT)).first()
    return None if row is None else Import(*row)


async def exchange(db: AsyncConnection, content: bytes, made_by: str) -> int | None:
    """Make this the table; its version, None when it is the table already."""
    binds = {"content": content, "made_by": made_by}
    return (await db.execute(_EXCHANGE, binds)).scalar()
