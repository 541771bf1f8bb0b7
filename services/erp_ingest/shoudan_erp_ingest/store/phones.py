"""The blind index: which documents and pushes a phone is in, without the phone."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.text_statements import statement, unnest

_INSERT = statement(f"""
INSERT INTO phone_index (mac, kind, document_id)
SELECT mac, kind, document_id FROM {unnest(mac="bytea", kind="smallint", document_id="bigint")}
ON CONFLICT DO NOTHING
""")


async def insert(db: AsyncConnection, rows: Iterable[tuple[bytes, int, int]]) -> None:
    """Remember (mac, kind, number) each; what is remembered already stays."""
    if given := sorted(set(rows)):  # sorted: two batches take the same phones in the same order
        arrays = map(list, zip(*given, strict=True))
        await db.execute(_INSERT, dict(zip(("mac", "kind", "document_id"), arrays, strict=True)))
