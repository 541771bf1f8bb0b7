"""Importing and loading number segments; other processes see an import within catalogue_poll_s."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from shoudan_kit.audit_log.entries import describe
from shoudan_order.catalogue.segments import NO_SEGMENTS, Problems, packed, read, unpacked
from shoudan_order.context import Context
from shoudan_order.store import segments as store
from shoudan_order.store.catalogue import Operation, record


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a file: the version it is now in, or what is wrong with it."""

    version: int
    rows: int
    problems: Problems


async def refresh(context: Context) -> None:
    """Load the newest version, if it is not loaded."""
    async with context.app.db.connect() as db:
        if await store.version(db) == context.segments.version:
            return
        found = await store.content(db)
    made = NO_SEGMENTS if found is None else await asyncio.to_thread(unpacked, *found)
    context.known.segments = made


async def poll(context: Context) -> None:
    """Refresh every catalogue_poll_s, for versions that other processes made."""
    while True:
        await asyncio.sleep(context.settings.catalogue_poll_s)
        await refresh(context)


async def last_import(context: Context) -> store.Import | None:
    """Who imported the newest version."""
    async with context.app.db.connect() as db:
        return await store.last_import(db)


async def take(context: Context, file: bytes, by: str, reason: str) -> Imported:
    """Make the rows of a file the whole table, or name all that is wrong with it and change nothing."""
    made, problems = await asyncio.to_thread(read, file)
    if problems.count:
        return Imported(context.segments.version, 0, problems)
    content = await asyncio.to_thread(packed, made)
    async with context.app.work("segments.import") as work:
        version = await store.exchange(work.db, content, by)
        if version is not None:
            facts = {"version": version, "rows": made.rows, "areas": len(made.areas)}
            describe("segments", "segments", {"version": version - 1}, facts, reason)
            detail = {**facts, "reason": reason}
            await record(
                work.db,
                Operation(work.ids.next(), by, "segments.import", "segments", detail, version),
            )
    await refresh(context)
    # Another import may have come since: the answer is about this one.
    return Imported(version or context.segments.version, made.rows, problems)
