"""Proof of records that have left: their files are the front of each chain, what is kept is theirs.

No service reads the archive; this is for the command, which runs where the archive, the ledger's keys and the
owner's URL are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import duckdb
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.archive.columns import duckdb_sum, postgres_sum
from shoudan_kit.archive.place import Manifest, Place
from shoudan_kit.archive.read import engine_of
from shoudan_kit.archive.write import columns_of
from shoudan_kit.db.columns import names_of
from shoudan_kit.db.shard_map import FIRST_SCHEMA
from shoudan_pay.ledger.chain_hash import Trust
from shoudan_pay.ledger.entries import Finding, Head, Record
from shoudan_pay.ledger.proof import breach
from shoudan_pay.ledger.store.records import Edge
from shoudan_pay.ledger.store.retention import KEPT

PAGE: Final = 1_000
FINDINGS_MAX: Final = 100
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EDGES: Final = text(
    "SELECT account_id, seq, balance_micros, hash FROM account_archived ORDER BY account_id"
)
_NAMES: Final = names_of(Record)
# DuckDB's moments need a library of time zones in Python; microseconds do not.
_SELECTED: Final = ", ".join(
    "epoch_us(create_time)" if name == "create_time" else name for name in _NAMES
)


@dataclass(slots=True)
class Archived:
    """What the files of one ledger come to."""

    records: int = 0
    edges: dict[int, Edge] = field(default_factory=dict[int, Edge])
    findings: list[Finding] = field(default_factory=list[Finding])


async def prove(db: AsyncConnection, place: Place, schema: str, trust: Trust) -> Archived:
    """Walk every archived chain of a shard from its first record, then hold the database to where they end.

    `db` is a session of the owner's in that schema. Raises ArchiveFailed for a file that is not as written.
    """
    manifests = _of_schema(place, schema)
    found = walk(place, manifests, trust)
    for row in (await db.execute(_EDGES)).all():
        edge = Edge(*row)
        if found.edges.pop(edge.account_id, None) != edge:
            found.findings.append(
                Finding(edge.account_id, 0, "its records do not begin where its archive ends")
            )
    found.findings += [
        Finding(one, 0, "its archive has a chain, the database none that has left")
        for one in found.edges
    ]
    if await _kept(db) != _kept_in(
        place, manifests, await columns_of(db, "account_archived_record")
    ):
        what = "what is kept of records that have left is not what their files hold"
        found.findings.append(Finding(0, 0, what))
    return found


def walk(place: Place, manifests: Sequence[Manifest], trust: Trust) -> Archived:
    """Follow each chain through the files, in the order of days; where it ends. Raises ArchiveFailed."""
    found, broken = Archived(), set[int]()
    with engine_of(place) as engine:
        for manifest in manifests:
            place.check(manifest)
            for record in _records(engine, place, manifest):
                found.records += 1
                number = record.account_id
                if number in broken or len(found.findings) >= FINDINGS_MAX:
                    continue
                last = found.edges.get(number) or Edge(number, 0, 0, b"")
                head = Head(number, record.contra_account_id, 0, 0, b"", b"")
                what = breach(head, record, last.seq, last.balance_micros, last.hash, trust)
                if what is not None:
                    broken.add(number)
                    where = f"{manifest.part}: {what}"
                    found.findings.append(Finding(number, record.record_id, where))
                found.edges[number] = Edge(number, record.seq, record.balance_micros, record.hash)
    return found


def _of_schema(place: Place, schema: str) -> list[Manifest]:
    """The files of one shard, by day and by lot."""
    own = "day_" if schema == FIRST_SCHEMA else f"{schema}.day_"
    there = [one for one in place.manifests("pay", "account_record") if one.part.startswith(own)]

    def order(one: Manifest) -> tuple[str, int]:
        day, _, number = one.part.removeprefix(own).partition("_")
        return day, int(number)

    return sorted(there, key=order)


def _records(
    engine: duckdb.DuckDBPyConnection, place: Place, manifest: Manifest
) -> Iterator[Record]:
    read = engine.execute(
        f"SELECT {_SELECTED} FROM read_parquet(?) ORDER BY account_id, seq",
        [_address(place, manifest)],
    )
    at = _NAMES.index("create_time")
    while rows := read.fetchmany(PAGE):
        for row in rows:
            values: list[Any] = list(row)
            values[at] = _EPOCH + timedelta(microseconds=values[at])
            yield Record(*values)


async def _kept(db: AsyncConnection) -> tuple[int, str]:
    columns = await columns_of(db, "account_archived_record")
    row = (
        await db.execute(text(f"SELECT {postgres_sum(columns)} FROM account_archived_record"))
    ).one()
    return row[0], row[1]


def _kept_in(
    place: Place, manifests: Sequence[Manifest], columns: Sequence[Any]
) -> tuple[int, str]:
    """The same columns of the files."""
    assert {one.name for one in columns} == set(KEPT)
    if not manifests:
        return 0, "0"
    with engine_of(place) as engine:
        files = [_address(place, one) for one in manifests]
        row = engine.execute(
            f"SELECT {duckdb_sum(columns)} FROM read_parquet(?)", [files]
        ).fetchall()[0]
    return row[0], row[1]


def _address(place: Place, manifest: Manifest) -> str:
    path = place.data(manifest)
    return path if place.local else place.files.unstrip_protocol(path)
