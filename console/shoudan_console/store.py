"""The statements of the console: sessions and saved views, each found by its key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.text_statements import statement

SWEEP_MAX: Final = 1_000

_OPEN = statement("""
INSERT INTO console_session (session_hash, operator_id, operator, roles, channels, tokens_sealed,
  create_time, use_time, end_time, prove_time)
VALUES (:hash, :operator_id, :operator, CAST(:roles AS text[]), CAST(:channels AS text[]), :sealed,
  shoudan_now(), shoudan_now(), shoudan_now() + make_interval(secs => :session_s),
  CASE WHEN :proved THEN shoudan_now() END)
""")
# A request that comes within the idle time is a use, written once in half a minute.
_FIND = statement("""
SELECT session_hash, operator_id, operator, roles, channels, tokens_sealed, end_time,
  coalesce(prove_time > shoudan_now() - make_interval(secs => :prove_s), false) AS proved,
  use_time < shoudan_now() - interval '30 seconds' AS to_note
FROM console_session
WHERE session_hash = :hash AND end_time > shoudan_now()
  AND use_time > shoudan_now() - make_interval(secs => :idle_s)
""")
_USE = statement("UPDATE console_session SET use_time = shoudan_now() WHERE session_hash = :hash")
# Of two requests that renewed the tokens at once the first one's stay: identity gave both the same.
_RENEW = statement("""
UPDATE console_session SET tokens_sealed = :sealed, roles = CAST(:roles AS text[]),
  channels = CAST(:channels AS text[])
WHERE session_hash = :hash AND tokens_sealed = :before
""")
_END = statement("DELETE FROM console_session WHERE session_hash = :hash RETURNING operator_id")
_SWEEP = statement("""
DELETE FROM console_session WHERE session_hash = ANY(
  SELECT session_hash FROM console_session WHERE end_time < shoudan_now()
  ORDER BY end_time LIMIT :count)
""")
_SWEEP_IDLE = statement("""
DELETE FROM console_session WHERE session_hash = ANY(
  SELECT session_hash FROM console_session
  WHERE use_time < shoudan_now() - make_interval(secs => :idle_s)
  ORDER BY use_time LIMIT :count)
""")
_VIEWS = statement("""
SELECT name, query FROM console_view WHERE operator_id = :operator_id AND page = :page
ORDER BY name LIMIT :count
""")
_SAVE_VIEW = statement("""
INSERT INTO console_view (operator_id, page, name, query, create_time)
VALUES (:operator_id, :page, :name, :query, shoudan_now())
ON CONFLICT (operator_id, page, name) DO UPDATE SET query = EXCLUDED.query, create_time = shoudan_now()
""")
_DROP_VIEW = statement("""
DELETE FROM console_view WHERE operator_id = :operator_id AND page = :page AND name = :name
""")


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session as it is stored; `to_note`: this use is to be written."""

    hash: bytes
    operator_id: int
    operator: str
    roles: tuple[str, ...]
    channels: tuple[str, ...]
    sealed: bytes
    end_time: datetime
    proved: bool
    to_note: bool


async def open_session(
    db: AsyncConnection,
    key: bytes,
    operator: tuple[int, str, list[str], list[str]],
    sealed: bytes,
    session_s: float,
    *,
    proved: bool,
) -> None:
    """Store a new session of an operator: number, name, roles, channels."""
    operator_id, name, roles, channels = operator
    values = {"hash": key, "operator_id": operator_id, "operator": name, "roles": roles}
    more = {"channels": channels, "sealed": sealed, "session_s": session_s, "proved": proved}
    await db.execute(_OPEN, {**values, **more})


async def find(db: AsyncConnection, key: bytes, idle_s: float, prove_s: float) -> SessionRow | None:
    """The session, unless it has ended or was idle too long."""
    values = {"hash": key, "idle_s": idle_s, "prove_s": prove_s}
    row = (await db.execute(_FIND, values)).first()
    if row is None:
        return None
    return SessionRow(
        row.session_hash,
        row.operator_id,
        row.operator,
        tuple(row.roles),
        tuple(row.channels),
        row.tokens_sealed,
        row.end_time,
        row.proved,
        row.to_note,
    )


async def note_use(db: AsyncConnection, key: bytes) -> None:
    """It was used now."""
    await db.execute(_USE, {"hash": key})


async def renew(
    db: AsyncConnection,
    key: bytes,
    before: bytes,
    sealed: bytes,
    roles: list[str],
    channels: list[str],
) -> None:
    """Replace its tokens, unless another request has."""
    values: dict[str, Any] = {"hash": key, "before": before, "sealed": sealed}
    values |= {"roles": roles, "channels": channels}
    await db.execute(_RENEW, values)


async def end(db: AsyncConnection, key: bytes) -> None:
    """Delete it; repeats change nothing."""
    await db.execute(_END, {"hash": key})


async def sweep(db: AsyncConnection, idle_s: float) -> None:
    """Delete what has ended, so many at a time."""
    await db.execute(_SWEEP, {"count": SWEEP_MAX})
    await db.execute(_SWEEP_IDLE, {"count": SWEEP_MAX, "idle_s": idle_s})


async def views(db: AsyncConnection, operator_id: int, page: str, count: int) -> dict[str, str]:
    """An operator's views of a list: queries by name."""
    values = {"operator_id": operator_id, "page": page, "count": count}
    return {row.name: row.query for row in (await db.execute(_VIEWS, values)).all()}


async def save_view(
    db: AsyncConnection, operator_id: int, page: str, name: str, query: str
) -> None:
    """Save a view, or replace the one of this name."""
    values = {"operator_id": operator_id, "page": page, "name": name, "query": query}
    await db.execute(_SAVE_VIEW, values)


async def drop_view(db: AsyncConnection, operator_id: int, page: str, name: str) -> None:
    """Delete a view; repeats change nothing."""
    await db.execute(_DROP_VIEW, {"operator_id": operator_id, "page": page, "name": name})
