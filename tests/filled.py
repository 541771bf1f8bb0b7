"""Tables filled with rows of any content, for plans that depend on sizes alone."""

from __future__ import annotations

from typing import Any

import asyncpg

COLUMNS = """SELECT column_name, data_type, character_maximum_length FROM information_schema.columns
    WHERE table_name = $1 AND is_generated = 'NEVER'"""
VALUES = {
    "bigint": "g",
    "numeric": "g",
    "integer": "g",
    "smallint": "g % 100",
    "text": "md5(g::text)",
    "boolean": "g % 2 = 0",
    "bytea": "decode(md5(g::text), 'hex')",
    "date": "current_date + g % 1000",
    "timestamp with time zone": "now() + g * interval '1 second'",
    "ARRAY": "ARRAY[g]::bigint[]",
    "jsonb": "'{}'::jsonb",
}


async def fill(db: asyncpg.Connection[Any], table: str, rows: int) -> None:
    """Rows of any content: plans are made for sizes, not for sense."""
    names, values = [], []
    for name, kind, most in await db.fetch(COLUMNS, table):
        names.append(f'"{name}"')
        values.append(f"left(md5(g::text), {most})" if most else VALUES[kind])
    await db.execute(
        f"INSERT INTO {table} ({', '.join(names)}) OVERRIDING SYSTEM VALUE"
        f" SELECT {', '.join(values)} FROM generate_series(1, {rows}) g ON CONFLICT DO NOTHING"
    )
