"""Sessions and API tokens."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_identity.rows import ApiTokenRow, SessionRow, row_of
from shoudan_kit.db.text_statements import statement

OPEN_MAX = 20  # sessions of one operator; beyond, the oldest ends
KEPT = "90 days"  # sessions that are over, for ListSessions and known addresses
SWEEP_MAX = 500

_INSERT = statement("""
INSERT INTO session (session_id, operator_id, family_hash, refresh_hash, second_factor, address,
    agent, create_time, use_time, end_time)
VALUES (:session_id, :operator_id, :family, :refresh, :second_factor, :address, :agent,
    shoudan_now(), shoudan_now(), shoudan_now() + :session_s * interval '1 second')
RETURNING end_time
""")
_END_OLDEST = statement("""
UPDATE session SET ended_time = shoudan_now(), ended_why = 'too many' WHERE session_id IN (
    SELECT session_id FROM session WHERE operator_id = :operator_id AND ended_time IS NULL
    ORDER BY session_id DESC OFFSET :most
)
""")
_LOCK = statement("""
SELECT session_id, operator_id, family_hash, refresh_hash, previous_hash, second_factor, address,
    agent, create_time, use_time, end_time, ended_time, shoudan_now() AS now
FROM session WHERE session_id = :session_id FOR UPDATE
""")
_ROTATE = statement("""
UPDATE session SET previous_hash = refresh_hash, refresh_hash = :refresh, use_time = shoudan_now()
WHERE session_id = :session_id
""")
_OPEN = statement("""
SELECT session_id, operator_id, family_hash, refresh_hash, previous_hash, second_factor, address,
    agent, create_time, use_time, end_time, ended_time, shoudan_now() AS now
FROM session WHERE operator_id = :operator_id AND ended_time IS NULL AND end_time > shoudan_now()
    AND use_time > shoudan_now() - :idle_s * interval '1 second'
ORDER BY session_id DESC LIMIT :most
""")
_END = statement("""
UPDATE session SET ended_time = shoudan_now(), ended_why = :why
WHERE operator_id = :operator_id AND ended_time IS NULL
    AND (CAST(:session_id AS bigint) = 0 OR session_id = CAST(:session_id AS bigint)) AND session_id <> :kept
RETURNING session_id
""")
_FORGET = statement(f"""
DELETE FROM session WHERE session_id IN (
    SELECT session_id FROM session WHERE end_time < shoudan_now() - interval '{KEPT}'
    ORDER BY end_time LIMIT :most
)
""")
_TOKENS = statement("""
SELECT token_id, operator_id, name, roles, token_hash, create_time, expire_time, use_time,
    revoke_time, shoudan_now() AS now
FROM api_token WHERE operator_id = :operator_id AND revoke_time IS NULL
ORDER BY token_id DESC LIMIT :most
""")
_TOKEN = statement("""
SELECT token_id, operator_id, name, roles, token_hash, create_time, expire_time, use_time,
    revoke_time, shoudan_now() AS now
FROM api_token WHERE token_id = :token_id
""")
_ADD_TOKEN = statement("""
INSERT INTO api_token (token_id, operator_id, name, roles, token_hash, create_time, expire_time)
VALUES (:token_id, :operator_id, :name, CAST(:roles AS text[]), :hash, shoudan_now(),
    shoudan_now() + :days * interval '1 day')
ON CONFLICT (operator_id, name) WHERE revoke_time IS NULL DO NOTHING RETURNING token_id
""")
_REVOKE = statement("""
UPDATE api_token SET revoke_time = shoudan_now()
WHERE operator_id = :operator_id AND revoke_time IS NULL AND (:name = '' OR name = :name)
RETURNING token_id
""")
# To the minute: a program that exchanges often writes no row each time.
_USED_TOKEN = statement("""
UPDATE api_token SET use_time = shoudan_now() WHERE token_id = :token_id
    AND (use_time IS NULL OR use_time < shoudan_now() - interval '1 minute')
""")


async def insert(
    db: AsyncConnection,
    *,
    session_id: int,
    operator_id: int,
    family: bytes,
    refresh: bytes,
    second_factor: bool,
    address: str,
    agent: str,
    session_s: float,
) -> SessionRow:
    """Open a session; the operator's oldest beyond OPEN_MAX end."""
    binds = {
        "session_id": session_id,
        "operator_id": operator_id,
        "family": family,
        "refresh": refresh,
        "second_factor": second_factor,
        "address": address,
        "agent": agent,
        "session_s": session_s,
        "most": OPEN_MAX,
    }
    await db.execute(_INSERT, binds)
    await db.execute(_END_OLDEST, binds)
    row = await lock(db, session_id)
    assert row is not None
    return row


async def lock(db: AsyncConnection, session_id: int) -> SessionRow | None:
    """The session, locked to the end of the transaction."""
    row = (await db.execute(_LOCK, {"session_id": session_id})).first()
    return None if row is None else row_of(SessionRow, row)


async def rotate(db: AsyncConnection, session_id: int, refresh: bytes) -> None:
    """The next refresh token; the one before is known for a moment."""
    await db.execute(_ROTATE, {"session_id": session_id, "refresh": refresh})


async def open_ones(db: AsyncConnection, operator_id: int, idle_s: float) -> list[SessionRow]:
    """The operator's sessions that are not over, newest first."""
    binds = {"operator_id": operator_id, "idle_s": idle_s, "most": OPEN_MAX}
    return [row_of(SessionRow, row) for row in await db.execute(_OPEN, binds)]


async def end(
    db: AsyncConnection, operator_id: int, why: str, *, session_id: int = 0, kept: int = 0
) -> list[int]:
    """End one session, or all without a number but the one `kept`; those that were ended."""
    binds = {"operator_id": operator_id, "why": why, "session_id": session_id, "kept": kept}
    return list((await db.execute(_END, binds)).scalars())


async def forget(db: AsyncConnection) -> int:
    """Delete some of the sessions that have been over for long; how many."""
    return (await db.execute(_FORGET, {"most": SWEEP_MAX})).rowcount


async def tokens(db: AsyncConnection, operator_id: int, most: int) -> list[ApiTokenRow]:
    """The operator's API tokens that are not revoked, newest first."""
    rows = await db.execute(_TOKENS, {"operator_id": operator_id, "most": most})
    return [row_of(ApiTokenRow, row) for row in rows]


async def token(db: AsyncConnection, token_id: int) -> ApiTokenRow | None:
    """The API token of this number."""
    row = (await db.execute(_TOKEN, {"token_id": token_id})).first()
    return None if row is None else row_of(ApiTokenRow, row)


async def add_token(
    db: AsyncConnection,
    token_id: int,
    operator_id: int,
    name: str,
    roles: Sequence[str],
    digest: bytes,
    days: int,
) -> bool:
    """Add an API token; False when one of this name is in force."""
    binds = {
        "token_id": token_id,
        "operator_id": operator_id,
        "name": name,
        "roles": list(roles),
        "hash": digest,
        "days": days,
    }
    return (await db.execute(_ADD_TOKEN, binds)).first() is not None


async def revoke_tokens(db: AsyncConnection, operator_id: int, name: str = "") -> list[int]:
    """Revoke the API token of this name, or all without one; those that were revoked."""
    binds = {"operator_id": operator_id, "name": name}
    return list((await db.execute(_REVOKE, binds)).scalars())


async def used_token(db: AsyncConnection, token_id: int) -> None:
    """Note that it was exchanged."""
    await db.execute(_USED_TOKEN, {"token_id": token_id})
