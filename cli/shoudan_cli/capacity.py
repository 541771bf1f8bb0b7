"""How many servers a rate of orders needs, computed from what `shoudan bench lifecycle` measured.

Every figure of one order comes from a measurement file; what is assumed about machines is in `Machines`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from shoudan_kit.ids import NODE_MAX

PROCESSES_MAX: Final = NODE_MAX + 1  # of one service: node numbers of ids
CALLED: Final = ("order", "pay", "delivery", "gateway")  # what an order passes through
DATABASES: Final = ("order", "pay", "delivery")
DAY_S: Final = 86_400
RATES: Final = (100, 1_000, 5_000, 10_000, 50_000)
IN_FLIGHT: Final = 400  # orders of the measurement


class PerOrder(msgspec.Struct, frozen=True):
    """The part of the same name in the measurement."""

    wal_bytes: float
    rows_bytes: dict[str, float]
    loopback_bytes: float
    database_cpu_us: dict[str, float]


class Lifecycle(msgspec.Struct, frozen=True):
    """What `shoudan bench lifecycle --json` prints, as far as it is used here."""

    lifecycles_per_s: float
    cpu_us_per_order: dict[str, float]
    memory_mib: dict[str, float]
    per_order: PerOrder


class Side(msgspec.Struct, frozen=True):
    """Of `shoudan bench ledger --json`: postings on one account."""

    batch_per_s: float


class Ledger(msgspec.Struct, frozen=True):
    """What `shoudan bench ledger --json` prints, as far as it is used here."""

    hot: Side


class Measured(msgspec.Struct, frozen=True):
    """A measurement file: what both benches printed on one machine, and which it was."""

    machine: str
    made: str
    lifecycle: Lifecycle
    ledger: Ledger


@dataclass(frozen=True, slots=True)
class Machines:
    """What is assumed, not measured."""

    busy_max: float = 0.7  # of a core, so that a burst finds room
    cores: int = 32  # of one server
    replicas_min: int = 2
    standbys: int = 2  # of each database
    wal_mb_per_s_max: float = 500.0  # one primary's disk, written and synced
    live_days: int = 90  # rows stay so long before their months are archived


@dataclass(frozen=True, slots=True)
class Limit:
    """At which rate something that cannot be added ends, when a service has one database."""

    what: str
    per_s: float


def processes(measured: Measured, machines: Machines, per_s: float, service: str) -> int:
    """Of one service; a process uses one core."""
    cores = per_s * measured.lifecycle.cpu_us_per_order[service] / 1e6 / machines.busy_max
    return max(machines.replicas_min, math.ceil(cores))


def database_cores(measured: Measured, machines: Machines, per_s: float, database: str) -> int:
    """Of one primary. What the server does beside its sessions is shared out by their work."""
    sessions = measured.lifecycle.per_order.database_cpu_us
    whole = measured.lifecycle.cpu_us_per_order["postgres"]
    cpu_us = whole * sessions[database] / sum(sessions.values())
    return max(1, math.ceil(per_s * cpu_us / 1e6 / machines.busy_max))


def primaries(measured: Measured, machines: Machines, per_s: float, database: str) -> int:
    """Servers that the rows of one service must be spread over."""
    by_cpu = database_cores(measured, machines, per_s, database) / machines.cores
    by_wal = wal_mb_per_s(measured, per_s, database) / machines.wal_mb_per_s_max
    return max(1, math.ceil(max(by_cpu, by_wal)))


def wal_mb_per_s(measured: Measured, per_s: float, database: str) -> float:
    """Of one service's database: all of it, shared out as the bytes of its rows."""
    rows = measured.lifecycle.per_order.rows_bytes
    share = rows[database] / sum(rows.values())
    return per_s * measured.lifecycle.per_order.wal_bytes * share / 1e6


def limits(measured: Measured, machines: Machines) -> list[Limit]:
    """What ends first, first."""
    found = [
        Limit(
            f"{PROCESSES_MAX} processes of {name}: node numbers of ids",
            PROCESSES_MAX * machines.busy_max * 1e6 / measured.lifecycle.cpu_us_per_order[name],
        )
        for name in CALLED
        if name != "gateway"  # it makes no ids
    ]
    for name in DATABASES:
        one = database_cores(measured, machines, 1_000_000, name) / 1_000_000
        found.append(Limit(f"{machines.cores} cores of {name}'s primary", machines.cores / one))
        wal = wal_mb_per_s(measured, 1, name)
        most = machines.wal_mb_per_s_max
        found.append(Limit(f"{most:.0f} MB/s of write-ahead log of {name}'s primary", most / wal))
    found.append(
        Limit("one ledger account that every order posts to", measured.ledger.hot.batch_per_s)
    )
    return sorted(found, key=lambda one: one.per_s)


def page(measured: Measured, machines: Machines, target: int) -> str:
    """The model as Markdown: what was measured, what each rate needs, what ends first."""
    lines = [
        *_measured_lines(measured, machines),
        *_rate_lines(measured, machines),
        *_target_lines(measured, machines, target),
        *_limit_lines(measured, machines, target),
    ]
    return "\n".join(lines) + "\n"


def _measured_lines(measured: Measured, machines: Machines) -> Iterator[str]:
    life, each = measured.lifecycle, measured.lifecycle.per_order
    yield "# Capacity"
    yield ""
    yield "<!-- Made by `just docs` of capacity.json, which `shoudan bench capacity --measure` wrote. -->"
    yield ""
    yield "What a rate of orders needs: arithmetic on measured figures. Nothing here was run at these rates."
    yield ""
    yield f"## Measured ({measured.made}, {measured.machine}, {life.lifecycles_per_s:,.0f} orders a second)"
    yield ""
    yield "| of one order | value |"
    yield "|---|---|"
    cpu = life.cpu_us_per_order
    names = (*CALLED, "postgres", "nats")
    yield f"| CPU, µs | {', '.join(f'{name} {cpu[name]:,.0f}' for name in names)} |"
    of_rows = ", ".join(f"{name} {each.rows_bytes[name]:,.0f}" for name in DATABASES)
    yield f"| rows with indexes before any vacuum, bytes | {of_rows} |"
    yield f"| write-ahead log, bytes | {each.wal_bytes:,.0f} |"
    yield f"| HTTP, gRPC and NATS, bytes | {each.loopback_bytes:,.0f} |"
    of_memory = ", ".join(f"{name} {life.memory_mib[name]:,.0f}" for name in (*CALLED, "postgres"))
    yield f"| memory of a process under this load, MiB | {of_memory} |"
    yield f"| postings a second on one account | {measured.ledger.hot.batch_per_s:,.0f} |"
    yield ""
    yield (
        f"Assumed: {machines.busy_max:.0%} of a core at most, {machines.cores} cores a server, "
        f"{machines.replicas_min} replicas of a service at least, {machines.standbys} standbys of a database,"
    )
    yield (
        f"{machines.wal_mb_per_s_max:.0f} MB/s of write-ahead log on one disk, rows live "
        f"{machines.live_days} days. CPU an order falls with the rate, because batches grow:"
    )
    yield "the figures are of small batches and therefore high. A service calls its database by Unix sockets"
    yield "in a measurement: those bytes are in no figure. Postings are those of the whole, busy machine."


def _rate_lines(measured: Measured, machines: Machines) -> Iterator[str]:
    yield ""
    yield "## By rate"
    yield ""
    yield (
        f"| orders a second | processes: {', '.join(CALLED)} | cores of primaries: {', '.join(DATABASES)} "
        "| rows a day |"
    )
    yield "|---|---|---|---|"
    daily = sum(measured.lifecycle.per_order.rows_bytes.values()) * DAY_S
    for rate in RATES:
        count = ", ".join(str(processes(measured, machines, rate, name)) for name in CALLED)
        cores = ", ".join(str(database_cores(measured, machines, rate, name)) for name in DATABASES)
        yield f"| {rate:,} | {count} | {cores} | {_size(daily * rate)} |"


def _target_lines(measured: Measured, machines: Machines, target: int) -> Iterator[str]:
    life, each = measured.lifecycle, measured.lifecycle.per_order
    yield ""
    yield f"## {target:,} orders a second"
    yield ""
    yield "| what | processes or primaries | cores | memory, GiB | servers |"
    yield "|---|---|---|---|---|"
    total: Mapping[str, int] = {
        name: processes(measured, machines, target, name) for name in CALLED
    }
    servers = 0
    for name, count in total.items():
        needed = math.ceil(count / machines.cores)
        servers += needed
        memory = count * life.memory_mib[name] / 1024
        yield f"| {name} | {count} | {count} | {memory:,.0f} | {needed} |"
    for name in DATABASES:
        count = primaries(measured, machines, target, name)
        cores = database_cores(measured, machines, target, name)
        needed = count * (1 + machines.standbys)
        servers += needed
        with_standbys = f"{count}, {machines.standbys} standbys each"
        yield f"| database {name} | {with_standbys} | {cores} | its cache | {needed} |"
    cores = math.ceil(target * life.cpu_us_per_order["nats"] / 1e6 / machines.busy_max)
    yield f"| NATS | 3 | {cores} each | | 3 |"
    wal = target * each.wal_bytes
    live = sum(each.rows_bytes.values()) * DAY_S * machines.live_days * target
    yield f"| together | | | | {servers + 3} |"
    yield ""
    days = machines.live_days
    yield f"* Disk: {_size(live)} of rows in {days} days over all primaries, as much again on each standby."
    yield f"* Write-ahead log: {_size(wal)}/s in all, {_size(wal * DAY_S)} a day before compression."
    yield (
        f"* Network: {_size(target * each.loopback_bytes)}/s of HTTP, gRPC and NATS, and "
        f"{_size(wal * machines.standbys)}/s to standbys; databases' and suppliers' traffic beside it."
    )


def _limit_lines(measured: Measured, machines: Machines, target: int) -> Iterator[str]:
    yield ""
    yield "## What ends first"
    yield ""
    yield "With one database for each service, at orders a second:"
    yield ""
    yield "| limit | ends at | more of it |"
    yield "|---|---|---|"
    for one in limits(measured, machines):
        more = "enough" if one.per_s >= target else _remedy(one.what)
        yield f"| {one.what} | {_round(one.per_s):,} | {more} |"


def _remedy(what: str) -> str:
    if "account" in what:
        return "orders of several channels, or sub-accounts of one"
    return "shards: each has node numbers, a primary and a disk of its own"


def _round(value: float) -> int:
    """To two digits: more of it would be a pretence."""
    digits = max(0, len(str(int(value))) - 2)
    return int(round(value, -digits))


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1_000:
            return f"{size:.3g} {unit}"
        size /= 1_000
    return f"{size:.3g} PB"
