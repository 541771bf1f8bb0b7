"""Rows that have ended leave a database in lots: keys first, then files, then each row, proved as it goes.

A lot is noted before anything else, so a run that was killed is taken up where it stopped: chosen (its
keys are known to all that add rows), written (its files were read back), deleted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import duckdb
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit import faults
from shoudan_kit.archive.columns import Column, duckdb_sum, postgres_sum, quoted
from shoudan_kit.archive.place import ArchiveFailed, Manifest, Place
from shoudan_kit.archive.read import engine_of, read_from
from shoudan_kit.archive.write import Source, columns_of, write
from shoudan_kit.db.ended import Ended, Hold, Member, Statements, before_of, binds
from shoudan_kit.db.owner import Patience, in_time

LOT_ROWS: Final = 20_000
BATCH_ROWS: Final = 500  # deleted in one transaction
LOCK_KEY: Final = 7_301_131  # one archive at a time in a schema
# Writers queue behind our wait for the table: it is short, and comes again.
BRIEF: Final = Patience(lock_timeout_s=0.2, tries_max=300, wait_s_max=2.0)
BATCH_IDS: Final = "CAST(:ids AS bigint[])"

_ALONE: Final = text("SELECT pg_try_advisory_lock(:key, hashtext(current_schema()))")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What may go: rows made before this and unchanged since; `holds` are asked for again and again."""

    before: datetime
    holds: Callable[[], Awaitable[Sequence[Hold]]]
    lot_rows: int = LOT_ROWS
    batch_rows: int = BATCH_ROWS


@dataclass(frozen=True, slots=True)
class Lot:
    """Rows that leave together. `place` is the address its files were begun at."""

    lot_no: str
    low: int
    high: int
    place: str
    written: bool


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a lot: how many rows left, and how many had changed since and stayed."""

    lot_no: str
    gone: int
    stayed: int


class _Differs(Exception):
    """A row is no longer what its file holds."""


async def archive_ended(
    connection: AsyncConnection,
    service: str,
    ended: Ended,
    place: Place,
    wanted: Wanted,
    done: Callable[[Done], None],
) -> None:
    """Write and delete what may go, a lot at a time, until there is no more; the lot of a killed run first.

    The session is the owner's. Raises ArchiveFailed, Locked: what was not deleted is still there.
    """
    run = _Run(connection, service, ended, place, wanted)
    await run.alone()
    after = 0
    while (lot := await run.open_lot()) or (lot := await run.choose(after)):
        faults.hit("archive.chosen")
        await run.fence()
        if not lot.written:
            await run.write(lot)
            faults.hit("archive.written")
        done(await run.delete(lot))
        faults.hit("archive.deleted")
        after = lot.high


class _Run:
    """One run in one schema."""

    def __init__(
        self,
        connection: AsyncConnection,
        service: str,
        ended: Ended,
        place: Place,
        wanted: Wanted,
    ) -> None:
        self._db, self._service, self._ended = connection, service, ended
        self._place, self._wanted, self._sql = place, wanted, Statements(ended)

    async def alone(self) -> None:
        """Raises ArchiveFailed when another run works here."""
        async with self._db.begin():
            if not (await self._db.execute(_ALONE, {"key": LOCK_KEY})).scalar_one():
                raise ArchiveFailed("another run archives here")

    async def open_lot(self) -> Lot | None:
        """The lot that a run before has not finished. Raises ArchiveFailed when it lies elsewhere."""
        async with self._db.begin():
            row = (await self._db.execute(self._sql.open_lot)).one_or_none()
        if row is None:
            return None
        lot = Lot(row.lot_no, row.low, row.high, row.place, row.written)
        if lot.place != self._place.address:
            raise ArchiveFailed(f"{lot.lot_no} was begun at {lot.place}: finish it there")
        return lot

    async def choose(self, after: int) -> Lot | None:
        """Note the next lot with its keys: what adds rows from now on sees them."""
        given = await self._rules() | {"after": after, "most": self._wanted.lot_rows}
        async with self._db.begin():
            ids = [int(one) for one in (await self._db.execute(self._sql.next, given)).scalars()]
            if not ids:
                return None
            now = await before_of(self._db, timedelta())
            # A lot of before may have begun with the same row, which changed and stayed, in the same second.
            lot_no = f"lot_{now:%Y%m%d%H%M%S%f}_{ids[0]}"
            lot = Lot(lot_no, ids[0], ids[-1], self._place.address, False)
            named = {"lot_no": lot.lot_no, "low": lot.low, "high": lot.high, "place": lot.place}
            await self._db.execute(self._sql.add_lot, named)
            await self._db.execute(self._sql.remember, {"ids": ids, "lot_no": lot.lot_no})
        return lot

    async def fence(self) -> None:
        """Wait until no transaction is left that may not see the keys; a later one sees them."""
        what = f"keys of {self._ended.table}"
        await in_time(self._db, what, BRIEF, lambda db: db.execute(self._sql.fence))

    async def write(self, lot: Lot) -> None:
        """The files of a lot, each read back, that of the table itself last. Raises ArchiveFailed."""
        chosen = self._sql.lot.format(low=lot.low, high=lot.high, lot_no=lot.lot_no)
        for member in reversed(self._ended.members):
            async with self._db.begin():
                columns = await columns_of(self._db, member.table)
            rows = (
                f"({_rows(member, columns, f'ARRAY({chosen})')} ORDER BY x.{member.order}) AS lot"
            )
            source = Source(member.table, lot.lot_no, lot.low, lot.high + 1, rows)
            await write(self._db, self._service, source, self._place)
            faults.hit("archive.file")
        async with self._db.begin():
            await self._db.execute(self._sql.lot_written, {"lot_no": lot.lot_no})

    async def delete(self, lot: Lot) -> Done:
        """Delete the rows of a lot, batch by batch, each as its file holds it; what changed since stays."""
        manifests = [self._manifest(lot, one) for one in self._ended.members]
        async with self._db.begin():
            given = {"low": lot.low, "high": lot.high, "lot_no": lot.lot_no}
            ids = [int(one) for one in (await self._db.execute(self._sql.left, given)).scalars()]
        gone, size = 0, self._wanted.batch_rows
        with engine_of(self._place) as engine:
            proof = _Proof(engine, self._place, self._ended.key, manifests)
            for at in range(0, len(ids), size):
                gone += await self._delete(lot, ids[at : at + size], proof)
                faults.hit("archive.batch")
        async with self._db.begin():
            await self._db.execute(self._sql.lot_deleted, {"lot_no": lot.lot_no})
        return Done(lot.lot_no, gone, len(ids) - gone)

    def _manifest(self, lot: Lot, member: Member) -> Manifest:
        found = self._place.manifest(self._service, member.table, lot.lot_no)
        if found is None:
            raise ArchiveFailed(f"{lot.lot_no} of {member.table} is not archived there")
        self._place.check(found)
        return found

    async def _delete(self, lot: Lot, ids: Sequence[int], proof: _Proof) -> int:
        """How many went: all, or those that are as they were written, found half by half."""
        try:
            async with self._db.begin():
                await self._db.execute(self._sql.lock, {"ids": list(ids)})
                given = await self._rules() | {"ids": list(ids)}
                may = [
                    int(one) for one in (await self._db.execute(self._sql.going, given)).scalars()
                ]
                if may:
                    await self._remove(lot, may, proof)
                if kept := sorted(set(ids) - set(may)):
                    await self._db.execute(self._sql.forget, {"ids": kept})
                return len(may)
        except _Differs:
            if len(ids) > 1:
                middle = len(ids) // 2
                first = await self._delete(lot, ids[:middle], proof)
                return first + await self._delete(lot, ids[middle:], proof)
        async with self._db.begin():
            await self._db.execute(self._sql.forget, {"ids": list(ids)})
        return 0

    async def _remove(self, lot: Lot, ids: Sequence[int], proof: _Proof) -> None:
        """Delete in the caller's transaction. Raises _Differs."""
        given = {"ids": list(ids)}
        await self._db.execute(self._sql.remember, given | {"lot_no": lot.lot_no})
        if self._sql.add_up is not None:
            await self._db.execute(self._sql.add_up, given)
        for member, manifest in zip(self._ended.members, proof.manifests, strict=True):
            columns = [Column(name, kind) for name, kind in manifest.columns]
            row = (await self._db.execute(text(_sum(member, columns)), given)).one()
            if (row[0], row[1]) != proof.of(manifest, columns, ids):
                raise _Differs

    async def _rules(self) -> dict[str, object]:
        return binds(self._wanted.before, await self._wanted.holds())


class _Proof:
    """What the files of a lot hold of some rows."""

    def __init__(
        self,
        engine: duckdb.DuckDBPyConnection,
        place: Place,
        key: str,
        manifests: Sequence[Manifest],
    ) -> None:
        self._engine, self._place, self._key = engine, place, quoted(key)
        self.manifests = manifests

    def of(
        self, manifest: Manifest, columns: Sequence[Column], ids: Sequence[int]
    ) -> tuple[int, str]:
        """How many rows belong to these, and the sum of their hashes. Raises ArchiveFailed."""
        wanted = f"{self._key} IN (SELECT unnest(CAST(? AS BIGINT[])))"
        (found,) = read_from(
            self._engine, self._place, manifest, duckdb_sum(columns), wanted, [list(ids)]
        )
        return found[0], found[1]


def _rows(member: Member, columns: Sequence[Column], ids: str) -> str:
    """A member's rows as they are archived: what is blank there is empty."""
    return f"SELECT {_shown(member, columns)} FROM {member.table} x WHERE {member.where.format(ids=ids)}"


def _sum(member: Member, columns: Sequence[Column]) -> str:
    """How many rows of `:ids` there are and the sum of their hashes as archived; they are deleted by it."""
    if not member.leaves:
        return f"SELECT {postgres_sum(columns)} FROM ({_rows(member, columns, BATCH_IDS)}) AS lot"
    names = ", ".join(f"x.{quoted(one.name)}" for one in columns)
    return (
        f"WITH gone AS (DELETE FROM {member.table} x WHERE {member.where.format(ids=BATCH_IDS)}"
        f" RETURNING {names})"
        f" SELECT {postgres_sum(columns)} FROM (SELECT {_shown(member, columns)} FROM gone x) AS lot"
    )


def _shown(member: Member, columns: Sequence[Column]) -> str:
    return ", ".join(
        f"CAST('' AS {one.type}) AS {quoted(one.name)}"
        if one.name in member.blank
        else f"x.{quoted(one.name)}"
        for one in columns
    )
