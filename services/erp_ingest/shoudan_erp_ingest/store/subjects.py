"""What a person left here: found by phone, shown under audit, erased everywhere at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_erp_ingest.tables.schema import PUSH, REFUND, TRADE
from shoudan_kit.db.text_statements import statement


@dataclass(frozen=True, slots=True)
class Audited:
    """One look or erasure, with who and why."""

    audit_id: int
    action: str
    kind: int
    document_id: int
    actor: str
    reason: str
    documents: int
    mac: bytes | None = None


_AUDIT = statement("""
INSERT INTO audit (audit_id, action, kind, document_id, mac, actor, reason, documents, create_time)
VALUES (:audit_id, :action, :kind, :document_id, :mac, :actor, :reason, :documents, shoudan_now())
""")
_NUMBERS = statement("""
SELECT kind, document_id FROM phone_index WHERE mac = :mac ORDER BY kind, document_id LIMIT :most
""")
# Every raw body a document was made of, now or before.
_PUSHES = statement("""
SELECT push_id FROM trade WHERE document_id = ANY(CAST(:trades AS bigint[]))
UNION SELECT push_id FROM refund WHERE document_id = ANY(CAST(:refunds AS bigint[]))
UNION SELECT push_id FROM history WHERE kind = 1 AND document_id = ANY(CAST(:trades AS bigint[]))
UNION SELECT push_id FROM history WHERE kind = 2 AND document_id = ANY(CAST(:refunds AS bigint[]))
""")
_ERASE = (
    statement("""
UPDATE trade SET sealed = NULL, content = NULL, erase_time = shoudan_now()
WHERE document_id = ANY(CAST(:trades AS bigint[]))
"""),
    statement("""
UPDATE payment SET sealed = NULL WHERE document_id = ANY(CAST(:trades AS bigint[]))
"""),
    statement("""
UPDATE trade_line SET sealed = NULL WHERE document_id = ANY(CAST(:trades AS bigint[]))
"""),
    statement("""
UPDATE refund SET sealed = NULL, content = NULL, erase_time = shoudan_now()
WHERE document_id = ANY(CAST(:refunds AS bigint[]))
"""),
    statement("""
UPDATE refund_line SET sealed = NULL WHERE document_id = ANY(CAST(:refunds AS bigint[]))
"""),
    statement("""
UPDATE swap_line SET sealed = NULL WHERE document_id = ANY(CAST(:refunds AS bigint[]))
"""),
    statement("""
UPDATE history SET
    snapshot = CAST(
        regexp_replace(CAST(snapshot AS text), '"sealed": "[^"]*"', '"sealed": null', 'g') AS jsonb)
WHERE (kind = 1 AND document_id = ANY(CAST(:trades AS bigint[])))
    OR (kind = 2 AND document_id = ANY(CAST(:refunds AS bigint[])))
"""),
    # Without its digest the same body counts as new: a sender who has the right may send it again.
    statement("""
UPDATE push SET sealed = NULL, sha256 = NULL WHERE push_id = ANY(CAST(:pushes AS bigint[]))
"""),
    statement("""
DELETE FROM phone_index WHERE mac = :mac
    OR (kind = 1 AND document_id = ANY(CAST(:trades AS bigint[])))
    OR (kind = 2 AND document_id = ANY(CAST(:refunds AS bigint[])))
    OR (kind = 3 AND document_id = ANY(CAST(:pushes AS bigint[])))
"""),
)


async def record(db: AsyncConnection, one: Audited) -> None:
    """Write down who looked or erased, before anything is shown."""
    names = Audited.__slots__
    await db.execute(_AUDIT, {name: getattr(one, name) for name in names})


async def erase(db: AsyncConnection, mac: bytes, most: int) -> tuple[int, int]:
    """Erase what carries this phone, `most` documents at once; (documents erased, numbers looked at)."""
    numbers = (await db.execute(_NUMBERS, {"mac": mac, "most": most})).all()
    of: dict[int, list[int]] = {TRADE: [], REFUND: [], PUSH: []}
    for kind, document_id in numbers:
        of[kind].append(document_id)
    binds: dict[str, Sequence[int] | bytes] = {"trades": of[TRADE], "refunds": of[REFUND]}
    pushes = (await db.execute(_PUSHES, binds)).scalars()
    binds["pushes"] = sorted({*of[PUSH], *pushes})
    binds["mac"] = mac
    for erase_some in _ERASE:
        await db.execute(erase_some, binds)
    return len(of[TRADE]) + len(of[REFUND]), len(numbers)
