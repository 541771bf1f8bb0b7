"""What a server wrote between two moments, by its write-ahead log: exact, however busy the machine is."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoudan_kit.embedded import Postgres
from shoudan_kit.embedded.binaries import postgres_bin
from shoudan_kit.embedded.home import unprivileged_user

_ROW = re.compile(
    r"rmgr: Heap2? .* tx: *(?P<by>\d+),.* desc: "
    r"(?P<what>INSERT|HOT_UPDATE|UPDATE|DELETE|MULTI_INSERT)\b(?P<more>.*?)"
    r"blkref #0: rel \d+/(?P<database>\d+)/(?P<file>\d+)"
)
_TUPLES = re.compile(r"ntuples: (\d+)")
_TABLES = """
SELECT pg_relation_filenode(c.oid)::text AS file,
    coalesce(pg_partition_root(c.oid)::regclass, c.oid::regclass)::text AS name
FROM pg_class c WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""
_WORDS = {"INSERT": "+", "MULTI_INSERT": "+", "UPDATE": "~", "HOT_UPDATE": "~", "DELETE": "-"}


@dataclass(frozen=True)
class Written:
    """Rows by "service.table" with + (inserted), ~ (updated) or - (deleted); tables by transaction."""

    rows: Counter[str]
    transactions: dict[str, set[str]]


async def position(postgres: Postgres) -> str:
    """Where the log ends now."""
    async with postgres.admin() as db:
        found: str = await db.fetchval("SELECT pg_current_wal_insert_lsn()::text")
    return found


async def written(postgres: Postgres, services: Iterable[str], start: str, end: str) -> Written:
    """What lies between two positions."""
    tables: dict[tuple[str, str], str] = {}
    for service in services:
        async with postgres.admin(f"shoudan_{service}") as db:
            number = await db.fetchval(
                "SELECT oid::text FROM pg_database WHERE datname = current_database()"
            )
            rows: list[Any] = await db.fetch(_TABLES)
        tables |= {(number, row["file"]): f"{service}.{row['name']}" for row in rows}
    async with postgres.admin() as db:
        await db.execute("SELECT pg_switch_wal()")  # what is dumped is on disk, whole
        folder = await db.fetchval("SHOW data_directory")
    program = postgres_bin(unprivileged_user()) / "pg_waldump"
    words = ["--path", str(Path(folder) / "pg_wal"), "--start", start, "--end", end]
    child = await asyncio.create_subprocess_exec(
        program, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, wrong = await child.communicate()
    assert child.returncode == 0, wrong.decode()
    return _read(said.decode().splitlines(), tables)


def _read(lines: Iterable[str], tables: dict[tuple[str, str], str]) -> Written:
    found = Written(Counter(), defaultdict(set))
    for line in lines:
        row = _ROW.search(line)
        table = tables.get((row["database"], row["file"])) if row else None
        if row and table:
            many = _TUPLES.search(row["more"])
            found.rows[f"{table} {_WORDS[row['what']]}"] += int(many[1]) if many else 1
            found.transactions[row["by"]].add(table)
    return found
