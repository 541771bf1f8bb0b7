"""Signing keys."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_identity.rows import KeyRow, row_of
from shoudan_identity.states import SIGNING_KEY, KeyEvent, KeyStatus
from shoudan_kit.db.text_statements import statement

# One transaction at a time changes keys, whatever the number of processes.
_LOCK = statement("SELECT pg_advisory_xact_lock(hashtext('identity.signing_key'))")
_PUBLISHED = statement("""
SELECT key_no, key_id, status, public_key, sealed, create_time, use_time, retire_time,
    shoudan_now() AS now
FROM signing_key WHERE status IN (10, 20, 30) ORDER BY key_no
""")
_INSERT = statement("""
INSERT INTO signing_key (key_no, key_id, status, public_key, sealed, create_time)
VALUES (:key_no, :key_id, :status, :public_key, :sealed, shoudan_now())
""")
_MOVE = statement("""
UPDATE signing_key SET status = :status,
    use_time = CASE WHEN :promoted THEN shoudan_now() ELSE use_time END,
    retire_time = CASE WHEN :promoted THEN retire_time ELSE coalesce(retire_time, shoudan_now()) END
WHERE key_no = :key_no AND status = ANY(CAST(:sources AS smallint[]))
""")


async def lock(db: AsyncConnection) -> None:
    """Lock the keys against other changes, to the end of the transaction."""
    await db.execute(_LOCK)


async def published(db: AsyncConnection) -> list[KeyRow]:
    """The keys that are not dropped, oldest first."""
    return [row_of(KeyRow, row) for row in await db.execute(_PUBLISHED)]


async def insert(
    db: AsyncConnection, key_no: int, key_id: str, public_key: bytes, sealed: bytes
) -> None:
    """Add the next key."""
    binds = {"key_no": key_no, "key_id": key_id, "public_key": public_key, "sealed": sealed}
    await db.execute(_INSERT, {**binds, "status": KeyStatus.NEXT})


async def move(db: AsyncConnection, keys: Sequence[KeyRow], event: KeyEvent) -> None:
    """What happened to each of a few keys."""
    for key in keys:
        binds = {
            "key_no": key.key_no,
            "status": SIGNING_KEY.next(KeyStatus(key.status), event),
            "sources": list(SIGNING_KEY.sources(event)),
            "promoted": event is KeyEvent.PROMOTED,
        }
        await db.execute(_MOVE, binds)
