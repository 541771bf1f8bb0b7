"""Finding archived rows again, by the value of a column."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import duckdb

from shoudan_kit.archive.columns import quoted
from shoudan_kit.archive.place import ArchiveFailed, Manifest, Place

MEMORY: Final = "256MB"


def find(
    place: Place, service: str, table: str, column: str, value: str, limit: int
) -> Iterator[dict[str, Any]]:
    """Rows whose column has this value, as text, by part and number; at most `limit`.

    A file is read as far as its row groups may hold the value. Raises ArchiveFailed.
    """
    with duckdb.connect(config={"memory_limit": MEMORY, "threads": 1}) as engine:
        if not place.local:
            engine.register_filesystem(place.files)
        for manifest in place.manifests(service):
            if manifest.table != table or limit <= 0:
                continue
            for row in _rows(engine, place, manifest, column, value, limit):
                limit -= 1
                yield row


def _rows(
    engine: duckdb.DuckDBPyConnection,
    place: Place,
    manifest: Manifest,
    column: str,
    value: str,
    limit: int,
) -> Iterator[dict[str, Any]]:
    kinds = dict(manifest.columns)
    if column not in kinds:
        raise ArchiveFailed(f"{manifest.part} has no column {column}: {', '.join(kinds)}")
    path = place.data(manifest)
    address = path if place.local else place.files.unstrip_protocol(path)
    names = [quoted(name) for name in kinds]
    number = kinds[column] in {"bigint", "integer", "smallint"}
    try:
        rows = engine.execute(
            f"SELECT {', '.join(names)} FROM read_parquet(?) WHERE {quoted(column)} = ?"
            f" ORDER BY {names[0]} LIMIT {limit}",
            [address, int(value) if number else value],
        ).fetchall()
    except (duckdb.Error, ValueError) as error:
        raise ArchiveFailed(f"{manifest.part}: cannot be searched: {error}") from error
    return (dict(zip(kinds, row, strict=True)) for row in rows)
