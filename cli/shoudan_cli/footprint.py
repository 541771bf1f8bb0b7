"""What a running system holds and moves beside CPU time: rows, write-ahead log, bytes, memory."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shoudan_cli.cpu import below

# Tasks and the outbox are emptied by what works them off, so they do not grow with orders.
_ROWS: Final = """
    SELECT CAST(coalesce(sum(pg_total_relation_size(oid)), 0) AS bigint) FROM pg_class
    WHERE relkind = 'r' AND relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_')
        AND relnamespace <> CAST('information_schema' AS regnamespace) AND relname NOT IN ('task', 'outbox')
"""
_BACKENDS: Final = "SELECT pid, datname FROM pg_stat_activity WHERE datname IS NOT NULL"
_WAL: Final = "SELECT CAST(pg_current_wal_lsn() - '0/0' AS bigint)"
_WORK: Final = """
    SELECT CAST(sum(xact_commit) AS bigint) AS commits, CAST(sum(tup_inserted) AS bigint) AS inserted,
        CAST(sum(tup_updated) AS bigint) AS updated, CAST(sum(tup_deleted) AS bigint) AS deleted
    FROM pg_stat_database WHERE datname IS NOT NULL
"""
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_LOOPBACK: Final = "lo:"


@dataclass(frozen=True, slots=True)
class Footprint:
    """One look. Bytes are totals since the server or the machine began; CPU is seconds of each backend."""

    wal_bytes: int
    rows_bytes: Mapping[str, int]
    loopback_bytes: int
    backends: Mapping[int, tuple[str, float]]  # database and seconds by process number
    work: Mapping[str, int]  # transactions committed, rows inserted, updated and deleted


@dataclass(frozen=True, slots=True)
class PerOrder:
    """What lies between two looks, for one order. Rows are before any vacuum, indexes included.

    `loopback_bytes` counts whatever this machine sends to itself: HTTP, gRPC and NATS of the system, of its
    load and of others; an embedded PostgreSQL is reached by Unix sockets and is not in it. Of `work` a
    session tells once a second at most, and what does not write commits, too.
    """

    wal_bytes: float
    rows_bytes: Mapping[str, float]
    loopback_bytes: float
    database_cpu_us: Mapping[str, float]
    work: Mapping[str, float]


async def look(admin: Any, services: Sequence[str]) -> Footprint:
    """`admin(database)` opens a connection of the server's superuser."""
    async with admin() as db:
        wal: int = await db.fetchval(_WAL)
        backends = {row["pid"]: row["datname"] for row in await db.fetch(_BACKENDS)}
        work = dict(await db.fetchrow(_WORK))
    rows: dict[str, int] = {}
    for name in services:
        async with admin(f"shoudan_{name}") as db:
            rows[name] = await db.fetchval(_ROWS)
    seconds = {pid: (database, _seconds(pid)) for pid, database in backends.items()}
    return Footprint(wal, rows, _loopback(), seconds, work)


def between(first: Footprint, last: Footprint, orders: int) -> PerOrder:
    """For each of these orders. A backend that ended in between is missing, which pools hardly let happen."""
    count = max(1, orders)
    cpu: defaultdict[str, float] = defaultdict(float)
    for pid, (database, seconds) in last.backends.items():
        began = first.backends.get(pid, (database, 0.0))[1]
        cpu[database.removeprefix("shoudan_")] += seconds - began
    return PerOrder(
        wal_bytes=round((last.wal_bytes - first.wal_bytes) / count, 1),
        rows_bytes={
            name: round((size - first.rows_bytes[name]) / count, 1)
            for name, size in last.rows_bytes.items()
        },
        loopback_bytes=round((last.loopback_bytes - first.loopback_bytes) / count, 1),
        database_cpu_us={
            name: round(cpu[name] * 1e6 / count, 1) for name in last.rows_bytes if name in cpu
        },
        work={name: round((last.work[name] - first.work[name]) / count, 2) for name in last.work},
    )


def memory_mib(roots: Mapping[str, int]) -> dict[str, float]:
    """Proportional share of memory of each named process with everything below it."""
    return {
        name: round(sum(map(_pss_kib, below(pid))) / 1024, 1) for name, pid in sorted(roots.items())
    }


def _seconds(pid: int) -> float:
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / _TICKS_PER_S


def _pss_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _loopback() -> int:
    for line in Path("/proc/net/dev").read_text().splitlines():
        words = line.split()
        if words and words[0] == _LOOPBACK:
            return int(words[1])
    return 0
