"""Chains leave a database from their front: a closed day becomes a file, then its rows go, each proved.

A day is noted before anything else, so a run that was killed is taken up where it stopped. What stays known
of rows is written in the transaction that deletes them, so a reader finds each of them once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import duckdb
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit import faults
from shoudan_kit.archive.columns import Column, duckdb_sum, postgres_sum, quoted
from shoudan_kit.archive.ended import BATCH_ROWS, LOCK_KEY, Done
from shoudan_kit.archive.place import ArchiveFailed, Manifest, Place
from shoudan_kit.archive.read import engine_of, read_from
from shoudan_kit.archive.write import Source, columns_of, write
from shoudan_kit.db.chains import Chains, Piece, Statements, day_binds
from shoudan_kit.db.ended import Hold
from shoudan_kit.db.shard_map import FIRST_SCHEMA
from shoudan_kit.ids import first_of

DAY: Final = timedelta(days=1)
NEVER: Final = date(1, 1, 1)
_ALONE: Final = text("SELECT pg_try_advisory_lock(:key, hashtext(current_schema()))")
_SCHEMA: Final = text("SELECT current_schema()")


@dataclass(frozen=True, slots=True)
class WantedDays:
    """What may go: days before this that are copied; `holds` are asked for again and again."""

    before: date
    copied: Sequence[date]
    holds: Callable[[], Awaitable[Sequence[Hold]]]
    batch_rows: int = BATCH_ROWS


@dataclass(frozen=True, slots=True)
class DayLot:
    """Rows of one day that leave together."""

    lot_no: str
    day: date
    place: str
    written: bool


class _Differs(Exception):
    """The file does not hold what the database held."""


async def archive_days(
    connection: AsyncConnection,
    service: str,
    chains: Chains,
    place: Place,
    wanted: WantedDays,
    done: Callable[[Done], None],
) -> None:
    """Write and delete what may go, a day at a time, until there is no more; the day of a killed run first.

    The session is the owner's. Raises ArchiveFailed: what was not deleted is still there.
    """
    run = _Run(connection, service, chains, place, wanted)
    await run.alone()
    after = NEVER
    while (lot := await run.open_lot()) or (lot := await run.choose(after)):
        faults.hit("archive.chosen")
        pieces = await run.pieces(lot)
        if not lot.written:
            await run.write(lot, pieces)
            faults.hit("archive.written")
        done(await run.delete(lot, pieces))
        faults.hit("archive.deleted")
        after = lot.day


class _Run:
    """One run in one schema."""

    def __init__(
        self,
        connection: AsyncConnection,
        service: str,
        chains: Chains,
        place: Place,
        wanted: WantedDays,
    ) -> None:
        self._db, self._service, self._chains = connection, service, chains
        self._place, self._wanted, self._sql = place, wanted, Statements(chains)

    async def alone(self) -> None:
        """Raises ArchiveFailed when another run works here."""
        async with self._db.begin():
            if not (await self._db.execute(_ALONE, {"key": LOCK_KEY})).scalar_one():
                raise ArchiveFailed("another run archives here")

    async def open_lot(self) -> DayLot | None:
        """The day that a run before has not finished. Raises ArchiveFailed when it lies elsewhere."""
        async with self._db.begin():
            row = (await self._db.execute(self._sql.open_lot)).one_or_none()
        if row is None:
            return None
        lot = DayLot(row.lot_no, row.day, row.place, row.written)
        if lot.place != self._place.address:
            raise ArchiveFailed(f"{lot.lot_no} was begun at {lot.place}: finish it there")
        return lot

    async def choose(self, after: date) -> DayLot | None:
        """Note the next day behind `after` of which something may go."""
        given = await self._rules() | {"after": after}
        async with self._db.begin():
            day = (await self._db.execute(self._sql.next_day, given)).scalar_one()
            if day is None:
                return None
            schema = (await self._db.execute(_SCHEMA)).scalar_one()
            lots = (await self._db.execute(self._sql.lots_of, {"day": day})).scalar_one()
            own = "" if schema == FIRST_SCHEMA else f"{schema}."
            lot = DayLot(f"{own}day_{day:%Y%m%d}_{lots + 1}", day, self._place.address, False)
            low, high = _numbers(day)
            named = {"lot_no": lot.lot_no, "low": low, "high": high, "place": lot.place}
            await self._db.execute(self._sql.add_lot, named | {"day": day})
        return lot

    async def pieces(self, lot: DayLot) -> list[Piece]:
        """What may go of the day now."""
        given = await self._rules() | {"day": lot.day}
        async with self._db.begin():
            return [Piece(*row) for row in await self._db.execute(self._sql.going, given)]

    async def write(self, lot: DayLot, pieces: Sequence[Piece]) -> None:
        """The file of a day, read back. Raises ArchiveFailed."""
        async with self._db.begin():
            columns = await columns_of(self._db, self._chains.table)
            await self._db.execute(self._sql.note_pieces)
            await self._db.execute(self._sql.forget_pieces)
            for at in range(0, len(pieces), BATCH_ROWS):
                await self._db.execute(self._sql.note_piece, _arrays(pieces[at : at + BATCH_ROWS]))
        names = ", ".join(f"x.{quoted(one.name)}" for one in columns)
        low, high = _numbers(lot.day)
        rows = f"(SELECT {names} {self._sql.rows}) AS lot"
        source = Source(self._chains.table, lot.lot_no, low, high, rows)
        await write(self._db, self._service, source, self._place)
        faults.hit("archive.file")
        async with self._db.begin():
            await self._db.execute(self._sql.lot_written, {"lot_no": lot.lot_no})

    async def delete(self, lot: DayLot, pieces: Sequence[Piece]) -> Done:
        """Delete the rows of a day, batch by batch, each as its file holds it."""
        manifest = self._place.manifest(self._service, self._chains.table, lot.lot_no)
        if manifest is None:
            raise ArchiveFailed(f"{lot.lot_no} of {self._chains.table} is not archived there")
        self._place.check(manifest)
        gone = 0
        with engine_of(self._place) as engine:
            proof = _Proof(engine, self._place, manifest, self._sql.in_file)
            for batch in _batches(pieces, self._wanted.batch_rows):
                gone += await self._delete(lot, batch, proof)
                faults.hit("archive.batch")
        async with self._db.begin():
            await self._db.execute(self._sql.lot_deleted, {"lot_no": lot.lot_no})
        return Done(lot.lot_no, gone, sum(one.high - one.low for one in pieces) - gone)

    async def _delete(self, lot: DayLot, batch: Sequence[Piece], proof: _Proof) -> int:
        """How many went. Of a chain that the file does not have, because it may go only since, none."""
        try:
            async with self._db.begin():
                given = await self._rules() | {"day": lot.day, "ids": [one.chain for one in batch]}
                may = set((await self._db.execute(self._sql.still, given)).scalars())
                going = [one for one in batch if one.chain in may]
                if going:
                    await self._remove(going, proof)
                return sum(one.high - one.low for one in going)
        except _Differs:
            if len(batch) > 1:
                middle = len(batch) // 2
                first = await self._delete(lot, batch[:middle], proof)
                return first + await self._delete(lot, batch[middle:], proof)
        (one,) = batch
        if proof.of(batch)[0]:
            raise ArchiveFailed(f"{lot.lot_no} holds other rows of {one.chain} than the database")
        return 0

    async def _remove(self, going: Sequence[Piece], proof: _Proof) -> None:
        """Delete in the caller's transaction. Raises _Differs."""
        given, columns = _arrays(going), proof.columns
        await self._db.execute(self._sql.remember, given)
        await self._db.execute(self._sql.move, given)
        names = ", ".join(f"x.{quoted(one.name)}" for one in columns)
        deleted = text(
            f"WITH gone AS ({self._sql.gone} RETURNING {names}) SELECT {postgres_sum(columns)} FROM gone"
        )
        row = (await self._db.execute(deleted, given)).one()
        if row[0] != sum(one.high - one.low for one in going) or (row[0], row[1]) != proof.of(
            going
        ):
            raise _Differs

    async def _rules(self) -> dict[str, object]:
        wanted = self._wanted
        return day_binds(wanted.before, wanted.copied, await wanted.holds())


class _Proof:
    """What the file of a day holds of some pieces."""

    def __init__(
        self, engine: duckdb.DuckDBPyConnection, place: Place, manifest: Manifest, where: str
    ) -> None:
        self._engine, self._place, self._manifest = engine, place, manifest
        self._where = where
        self.columns = [Column(name, kind) for name, kind in manifest.columns]

    def of(self, pieces: Sequence[Piece]) -> tuple[int, str]:
        """How many rows of these there are, and the sum of their hashes. Raises ArchiveFailed."""
        given = list(_arrays(pieces).values())
        selected = duckdb_sum(self.columns)
        (found,) = read_from(
            self._engine, self._place, self._manifest, selected, self._where, given
        )
        return found[0], found[1]


def _arrays(pieces: Sequence[Piece]) -> dict[str, list[int]]:
    return {
        "ids": [one.chain for one in pieces],
        "lows": [one.low for one in pieces],
        "highs": [one.high for one in pieces],
    }


def _batches(pieces: Sequence[Piece], most: int) -> Iterator[list[Piece]]:
    """Pieces of together at most `most` rows; a longer one is cut, its front first."""
    batch, room = list[Piece](), most
    for one in pieces:
        low = one.low
        while low < one.high:
            high = min(one.high, low + room)
            batch.append(Piece(one.chain, low, high))
            room, low = room - (high - low), high
            if not room:
                yield batch
                batch, room = [], most
    if batch:
        yield batch


def _numbers(day: date) -> tuple[int, int]:
    """The numbers that are made on a day, taken as one of UTC."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return first_of(start), first_of(start + DAY)
