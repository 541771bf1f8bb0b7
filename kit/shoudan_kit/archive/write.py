"""Writing rows of a table to an archive: a part, or any others; and proving a part before it is dropped."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.archive.columns import Column, duckdb_sum, postgres_sum, quoted
from shoudan_kit.archive.place import BLOCK_BYTES, ArchiveFailed, Manifest, Place
from shoudan_kit.db import revisions
from shoudan_kit.db.owner import as_owner
from shoudan_kit.db.partitions import Part
from shoudan_kit.db.shard_map import FIRST_SCHEMA

MEMORY: Final = "256MB"  # of DuckDB, whatever the size of a part
GROUP_ROWS: Final = 100_000  # read at once by who looks for one row


@dataclass(frozen=True, slots=True)
class Source:
    """Rows that become one file, `name`: what stands after FROM, with the columns of a table."""

    table: str
    name: str
    low: int | None
    high: int
    rows: str
    shape: str = ""  # what has its columns, when it is not the table

    @classmethod
    def of(cls, part: Part, name: str) -> Source:
        """A part whole, archived under this name."""
        assert part.high is not None, "the part for what fits no other is never archived"
        return cls(part.table, name, part.low, part.high, quoted(part.name), part.name)


_COLUMNS: Final = text("""
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = CAST(:part AS regclass) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
""")


async def archive(
    owner_url: str,
    service: str,
    parts: Sequence[Part],
    place: Place,
    done: Callable[[Manifest, bool], None],
    *,
    again: bool = False,
    schema: str = FIRST_SCHEMA,
) -> None:
    """Write each part that is not archived yet; `done` gets its manifest and whether it is new.

    A part is proved when it is written, and not at each repeat, which costs as much as writing: a repeat
    looks whether its file is there. `again` compares all rows anew and notes it in the manifest.
    Raises ArchiveFailed: what was written before stays archived.
    """
    async with as_owner(owner_url, schema) as connection:
        for part in parts:
            name = archived_as(part, schema)
            there = place.manifest(service, part.table, name)
            if there is None:
                done(await write(connection, service, Source.of(part, name), place), True)
                continue
            if again:
                await prove(connection, part, there)
                place.check(there)
                there = msgspec.structs.replace(there, proved=_now())
                place.describe(there)
            place.glance(there)
            done(there, False)


async def prove(connection: AsyncConnection, part: Part, manifest: Manifest) -> None:
    """The rows that are archived are those that the part holds now. Raises ArchiveFailed."""
    async with connection.begin():
        columns = await columns_of(connection, part.name)
        rows, row_sum = await _sum(connection, quoted(part.name), columns)
    if (rows, row_sum) != (manifest.rows, manifest.row_sum):
        raise ArchiveFailed(
            f"{part.name} holds {rows} rows and its archive {manifest.rows}, or others"
        )


def archived_as(part: Part, schema: str) -> str:
    """The name of a part in an archive: parts of several shards have the same names."""
    return part.name if schema == FIRST_SCHEMA else f"{schema}.{part.name}"


async def write(
    connection: AsyncConnection, service: str, source: Source, place: Place
) -> Manifest:
    """Write rows as one file, compare it with them, read it back where it lies. Raises ArchiveFailed."""
    with tempfile.TemporaryDirectory(prefix="shoudan-archive-") as folder:
        spool, rows = Path(folder) / "rows.csv", Path(folder) / "rows.parquet"
        await connection.execution_options(isolation_level="REPEATABLE READ")
        try:
            async with connection.begin():
                columns = await columns_of(connection, source.shape or source.table)
                expected = await _sum(connection, source.rows, columns)
                revision = await connection.execute(revisions.CURRENT)
                await _copy(connection, source.rows, columns, spool)
        finally:
            await connection.execution_options(isolation_level="READ COMMITTED")
        found = _convert(columns, spool, rows)
        if found != expected:
            raise ArchiveFailed(
                f"{source.name}: of {expected[0]} rows {found[0]} were written, or others"
            )
        manifest = Manifest(
            service=service,
            table=source.table,
            part=source.name,
            revision=revision.scalar_one(),
            low=source.low,
            high=source.high,
            rows=expected[0],
            row_sum=expected[1],
            columns=tuple((one.name, one.type) for one in columns),
            bytes=rows.stat().st_size,
            sha256=_digest(rows),
            made=_now(),
        )
        place.store(manifest, rows)
    return manifest


async def columns_of(connection: AsyncConnection, table: str) -> list[Column]:
    """The columns of a table or a part, in their order."""
    rows = await connection.execute(_COLUMNS, {"part": table})
    return [Column(name, kind) for name, kind in rows]


async def _sum(
    connection: AsyncConnection, rows: str, columns: Sequence[Column]
) -> tuple[int, str]:
    sql = f"SELECT {postgres_sum(columns)} FROM {rows}"
    row: Any = (await connection.exec_driver_sql(sql)).one()
    return row[0], row[1]


async def _copy(
    connection: AsyncConnection, rows: str, columns: Sequence[Column], spool: Path
) -> None:
    names = ", ".join(quoted(one.name) for one in columns)
    raw: Any = (await connection.get_raw_connection()).driver_connection
    await raw.copy_from_query(
        f"SELECT {names} FROM {rows}", output=spool, format="csv", header=True
    )


def _convert(columns: Sequence[Column], spool: Path, rows: Path) -> tuple[int, str]:
    """CSV to Parquet; how many rows the file has, and the sum of their hashes, read from it."""
    with duckdb.connect(
        config={"memory_limit": MEMORY, "threads": 1, "temp_directory": str(spool.parent)}
    ) as engine:
        given = {one.name: one.read_as for one in columns}
        loaded = ", ".join(one.loaded for one in columns)
        try:
            engine.execute(
                f"COPY (SELECT {loaded} FROM read_csv(?, columns = ?, header = true, auto_detect = false,"
                " nullstr = '', allow_quoted_nulls = false, quote = '\"', escape = '\"', delim = ','))"
                f" TO '{rows}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {GROUP_ROWS})",
                [str(spool), given],
            )
            sums = engine.execute(f"SELECT {duckdb_sum(columns)} FROM read_parquet(?)", [str(rows)])
            (found,) = sums.fetchall()
        except duckdb.Error as error:
            raise ArchiveFailed(f"cannot be written as Parquet: {error}") from error
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
