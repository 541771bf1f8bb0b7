"""Statements no role gets through: each tried in a transaction of its own that is rolled back."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from shoudan_kit.embedded import DatabaseUrls, Postgres

NO_RIGHT, CHECK, READ_ONLY = "42501", "23514", "25006"

# What is tried, and what refuses it as the serving role: a right it has not, or a law of the rows.
Broken = Sequence[tuple[str, str]]


async def not_refused(postgres: Postgres, urls: DatabaseUrls, broken: Broken) -> list[str]:
    """What was let through, or refused for another reason: as the serving role, as the reader, who writes
    nothing, and as the owner, for whom the laws of the rows hold, too."""
    reader = postgres.url(urls.owner.partition("@/")[2].partition("?")[0], "shoudan_reader")
    laws = [(sql, law) for sql, law in broken if law == CHECK]
    return [
        *await _outcomes("service", urls.service, broken),
        *await _outcomes("reader", reader, [(sql, READ_ONLY) for sql, _ in broken]),
        *await _outcomes("owner", urls.owner, laws),
    ]


async def _outcomes(role: str, url: str, broken: Broken) -> list[str]:
    """Each statement that did not end as it should, and how it ended."""
    db = await asyncpg.connect(url.replace("+asyncpg", ""))
    found: list[str] = []
    try:
        for sql, want in broken:
            told = "let through"
            try:
                await db.execute(f"BEGIN; {sql}; SET CONSTRAINTS ALL IMMEDIATE")
            except asyncpg.PostgresError as error:
                told = str(error.sqlstate)
            await db.execute("ROLLBACK")
            if told != want:
                found.append(f"{role}: {sql}: {told}, not {want}")
    finally:
        await db.close()
    return found
