"""Writing a part of a table to its archive, and proving it before the part is dropped."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
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
                done(await _archive(connection, service, part, place, name), True)
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
        columns = await _columns(connection, part)
        rows, row_sum = await _sum(connection, part, columns)
    if (rows, row_sum) != (manifest.rows, manifest.row_sum):
        raise ArchiveFailed(
            f"{part.name} holds {rows} rows and its archive {manifest.rows}, or others"
        )


def archived_as(part: Part, schema: str) -> str:
    """The name of a part in an archive: parts of several shards have the same names."""
    return part.name if schema == FIRST_SCHEMA else f"{schema}.{part.name}"


async def _archive(
    connection: AsyncConnection, service: str, part: Part, place: Place, name: str
) -> Manifest:
    with tempfile.TemporaryDirectory(prefix="shoudan-archive-") as folder:
        spool, rows = Path(folder) / "rows.csv", Path(folder) / "rows.parquet"
        await connection.execution_options(isolation_level="REPEATABLE READ")
        try:
            async with connection.begin():
                columns = await _columns(connection, part)
                expected = await _sum(connection, part, columns)
                revision = await connection.execute(revisions.CURRENT)
                await _copy(connection, part, columns, spool)
        finally:
            await connection.execution_options(isolation_level="READ COMMITTED")
        found = _convert(columns, spool, rows)
        if found != expected:
            raise ArchiveFailed(
                f"{part.name}: of {expected[0]} rows {found[0]} were written, or others"
            )
        assert part.high is not None, "the part for what fits no other is never archived"
        manifest = Manifest(
            service=service,
            table=part.table,
            part=name,
            revision=revision.scalar_one(),
            low=part.low,
            high=part.high,
            rows=expected[0],
            row_sum=expected[1],
            columns=tuple((one.name, one.type) for one in columns),
            bytes=rows.stat().st_size,
            sha256=_digest(rows),
            made=_now(),
        )
        place.store(manifest, rows)
    return manifest


async def _columns(connection: AsyncConnection, part: Part) -> list[Column]:
    rows = await connection.execute(_COLUMNS, {"part": part.name})
    return [Column(name, kind) for name, kind in rows]


async def _sum(
    connection: AsyncConnection, part: Part, columns: Sequence[Column]
) -> tuple[int, str]:
    sql = f"SELECT {postgres_sum(columns)} FROM {quoted(part.name)}"
    row: Any = (await connection.exec_driver_sql(sql)).one()
    return row[0], row[1]


async def _copy(
    connection: AsyncConnection, part: Part, columns: Sequence[Column], spool: Path
) -> None:
    names = ", ".join(quoted(one.name) for one in columns)
    raw: Any = (await connection.get_raw_connection()).driver_connection
    await raw.copy_from_query(
        f"SELECT {names} FROM {quoted(part.name)}", output=spool, format="csv", header=True
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
