"""Statements on the tokens that files of bills are downloaded with."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.text_statements import statement

PURGED_MAX: Final = 1000

_ADD = statement("""
INSERT INTO bill_link (digest, bill_id, create_time, expire_time)
VALUES (:digest, :bill_id, shoudan_now(), shoudan_now() + make_interval(secs => :link_s))
RETURNING expire_time
""")
_FIND = statement("""
SELECT bill_id FROM bill_link WHERE digest = :digest AND expire_time > shoudan_now()
""")
_PURGE = statement("""
DELETE FROM bill_link WHERE digest IN (
    SELECT digest FROM bill_link WHERE expire_time < shoudan_now() ORDER BY expire_time LIMIT :most)
""")


async def add(db: AsyncConnection, digest: bytes, bill_id: int, link_s: int) -> datetime:
    """Store a token; until when it is good."""
    binds = {"digest": digest, "bill_id": bill_id, "link_s": link_s}
    moment: datetime = (await db.execute(_ADD, binds)).scalar_one()
    return moment


async def find(db: AsyncConnection, digest: bytes) -> int | None:
    """The bill that a token is for, while it is good."""
    return (await db.execute(_FIND, {"digest": digest})).scalar_one_or_none()


async def purge(db: AsyncConnection) -> bool:
    """Delete tokens that have expired, at most PURGED_MAX; whether there may be more."""
    return (await db.execute(_PURGE, {"most": PURGED_MAX})).rowcount == PURGED_MAX
