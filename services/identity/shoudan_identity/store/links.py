"""Operators' links to subjects of OpenID providers."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.text_statements import statement

_OPERATOR = statement("""
SELECT operator_id FROM operator_link WHERE issuer = :issuer AND subject = :subject
""")
_SUBJECT = statement("""
SELECT subject FROM operator_link WHERE issuer = :issuer AND operator_id = :operator_id
""")
_UNLINK = statement("""
DELETE FROM operator_link WHERE operator_id = :operator_id AND (:issuer = '' OR issuer = :issuer)
RETURNING subject
""")
_LINK = statement("""
INSERT INTO operator_link (issuer, subject, operator_id, create_time, created_by)
VALUES (:issuer, :subject, :operator_id, shoudan_now(), :by)
ON CONFLICT DO NOTHING RETURNING operator_id
""")


async def operator_of(db: AsyncConnection, issuer: str, subject: str) -> int | None:
    """The operator that is linked to the subject."""
    binds = {"issuer": issuer, "subject": subject}
    return (await db.execute(_OPERATOR, binds)).scalar_one_or_none()


async def subject_of(db: AsyncConnection, issuer: str, operator_id: int) -> str | None:
    """The subject an operator is linked to."""
    binds = {"issuer": issuer, "operator_id": operator_id}
    return (await db.execute(_SUBJECT, binds)).scalar_one_or_none()


async def unlink(db: AsyncConnection, operator_id: int, issuer: str = "") -> list[str]:
    """Take the links of an operator away, all without `issuer`; the subjects they had."""
    binds = {"operator_id": operator_id, "issuer": issuer}
    return list((await db.execute(_UNLINK, binds)).scalars())


async def link(db: AsyncConnection, operator_id: int, issuer: str, subject: str, by: str) -> bool:
    """Link an operator that has no link at this issuer; False when the subject is another's."""
    binds = {"operator_id": operator_id, "issuer": issuer, "subject": subject, "by": by}
    return (await db.execute(_LINK, binds)).first() is not None
