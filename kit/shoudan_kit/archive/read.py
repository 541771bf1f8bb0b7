"""Finding archived rows again, by the value of a column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import duckdb

from shoudan_kit.archive.columns import quoted
from shoudan_kit.archive.place import ArchiveFailed, Manifest, Place

MEMORY: Final = "256MB"
ROWS_MAX: Final = 10_000  # that belong to one row, of one table
EVENTS_MAX: Final = 10_000  # of one search, each service


def find(
    place: Place, service: str, table: str, column: str, value: str, limit: int
) -> Iterator[dict[str, Any]]:
    """Rows whose column has this value, as text, by part and number; at most `limit`.

    A file is read as far as its row groups may hold the value. Raises ArchiveFailed.
    """
    with engine_of(place) as engine:
        for manifest in place.manifests(service, table):
            if limit <= 0:
                return
            for row in _rows(engine, place, manifest, column, [value], limit):
                limit -= 1
                yield row


@dataclass(frozen=True, slots=True)
class ArchivedEvent:
    """An event and the archived part it was found in."""

    service: str
    part: str
    subject: str
    tag: str
    text: str
    time: datetime
    trace: str


def events(
    place: Place, keys: Mapping[str, Sequence[str]], first_id: int
) -> Iterator[ArchivedEvent]:
    """Archived events of these keys of each service, from those numbered `first_id` on, by part.

    Parts that end before are not opened: an order has no event that is older than its number.
    Raises ArchiveFailed.
    """
    with engine_of(place) as engine:
        for service, wanted in keys.items():
            for manifest in place.manifests(service, "event"):
                if manifest.high <= first_id:
                    continue
                for row in _rows(engine, place, manifest, "key", wanted, EVENTS_MAX):
                    yield ArchivedEvent(
                        service,
                        manifest.part,
                        row["subject"],
                        row["tag"],
                        row["text"],
                        row["create_time"],
                        row.get("trace") or "",
                    )


def of_lot(
    place: Place, service: str, table: str, lot_no: str, column: str, value: int
) -> list[dict[str, Any]]:
    """The rows of one file whose column has this value. Raises ArchiveFailed."""
    manifest = place.manifest(service, table, lot_no)
    if manifest is None:
        raise ArchiveFailed(f"{lot_no} of {table} is not archived there")
    with engine_of(place) as engine:
        return list(_rows(engine, place, manifest, column, [str(value)], ROWS_MAX))


def engine_of(place: Place) -> duckdb.DuckDBPyConnection:
    """DuckDB with its bounds, which reads where the place is."""
    engine = duckdb.connect(config={"memory_limit": MEMORY, "threads": 1})
    if not place.local:
        engine.register_filesystem(place.files)
    return engine


def _rows(
    engine: duckdb.DuckDBPyConnection,
    place: Place,
    manifest: Manifest,
    column: str,
    values: Sequence[str],
    limit: int,
) -> Iterator[dict[str, Any]]:
    kinds = dict(manifest.columns)
    if column not in kinds:
        raise ArchiveFailed(f"{manifest.part} has no column {column}: {', '.join(kinds)}")
    names = [quoted(name) for name in kinds]
    places = ", ".join("?" for _ in values)
    number = kinds[column] in {"bigint", "integer", "smallint"}
    where = f"{quoted(column)} IN ({places}) ORDER BY {names[0]} LIMIT {limit}"
    try:
        given = [int(one) if number else one for one in values]
    except ValueError as error:
        raise ArchiveFailed(f"{manifest.part}: cannot be searched: {error}") from error
    rows = read_from(engine, place, manifest, ", ".join(names), where, given)
    return (dict(zip(kinds, row, strict=True)) for row in rows)


def read_from(
    engine: duckdb.DuckDBPyConnection,
    place: Place,
    manifest: Manifest,
    selected: str,
    where: str,
    given: Sequence[Any],
) -> list[tuple[Any, ...]]:
    """What is selected of a file's rows; `?` in `where` are the values given. Raises ArchiveFailed."""
    path = place.data(manifest)
    address = path if place.local else place.files.unstrip_protocol(path)
    try:
        return engine.execute(
            f"SELECT {selected} FROM read_parquet(?) WHERE {where}", [address, *given]
        ).fetchall()
    except duckdb.Error as error:
        raise ArchiveFailed(f"{manifest.part}: cannot be searched: {error}") from error
