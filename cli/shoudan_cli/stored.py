"""Orders of the past in a system of its own: a sample is ordered, then copied to the days before it.

The sample is ordered at the gateway and goes through every process, so a copy has all that an order leaves
behind in each database, and nothing that it does not: no reader can tell it from an order that was placed
then. What knows a moment or a number (`stored_rows`) moves with the copy; the accounts' records are chained
and sealed anew and their days closed (`stored_ledger`); finance copies those days as it does any other.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp

from shoudan_cli import stored_ledger
from shoudan_cli.bench_layout import HASTY, Layout
from shoudan_cli.clients import Failed
from shoudan_cli.stored_rows import Template, Window, read, write
from shoudan_cli.system import System, declared
from shoudan_cli.wiring import SERVICES, replica
from shoudan_kit.db.foundation import FIRST, stored_as
from shoudan_kit.ids import first_of
from shoudan_kit.process.polling import until
from shoudan_kit.secrets.sealing import SealedColumn

SAMPLE: Final = 40  # orders that are placed; all others are copies of theirs
DAYS: Final = 30
REST_S_MAX: Final = 120.0
BOOKED_S_MAX: Final = 3600.0
LOOK_S: Final = 0.2
GAP_MS: Final = 1000  # between one copy and the next, at least
SAID_EVERY: Final = 0.1  # of all copies

TABLES: Final[Mapping[str, Sequence[str]]] = {
    "order": (
        "oms_order_info",
        "oms_order_delivery",
        "oms_refund_info",
        "oms_refund_up_return",
        "oms_notify_info",
        "oms_notify_attempt",
        "oms_audit_info",
        "event",
    ),
    "delivery": (
        "vds_order_info",
        "vds_order_query",
        "vds_order_notify",
        "vds_order_exp",
        "event",
    ),
}
SEALED: Final = ("oms_order_info", "vds_order_info")
# Made from the ledger's days, which are other ones afterwards.
_BOOKS: Final = (
    "TRUNCATE finance_day, account_fact, movement, trade_day, trade, trade_money, pay_trade, task"
)
# Of the last day not all money can be here: a part of it may be of the day that is not over.
_BOOKED: Final = """
    SELECT (SELECT count(*) FROM finance_day WHERE status = 20) >= $1
        AND (SELECT count(*) FROM trade_day WHERE status IN (15, 20)) >= $1
        AND NOT EXISTS (SELECT FROM bill WHERE status = 10),
        EXISTS (SELECT FROM finance_day WHERE status = 80)
        OR EXISTS (SELECT FROM trade_day WHERE status = 80)
"""
_RESTLESS: Final = """
    SELECT count(*) FILTER (WHERE order_status NOT IN (0, 90, 91) OR notify_status = 30
        OR NOT EXISTS (SELECT FROM oms_notify_info n WHERE n.order_id = o.order_id
            AND n.refund_id = 0 AND n.notify_status = 0)
        OR EXISTS (SELECT FROM oms_order_delivery d WHERE d.order_id = o.order_id
            AND d.delivery_status = 0 AND d.up_payment_status <> 0)
        OR EXISTS (SELECT FROM oms_refund_info r WHERE r.order_id = o.order_id
            AND (r.refund_status = 10 OR r.refund_notify_status <> 0 OR r.down_refund_status <> 0))
        ), count(*)
    FROM oms_order_info o
"""
_PARENTS: Final = """
    SELECT p.relname AS name, pg_get_userbyid(p.relowner) AS owner,
        min(substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \\(''?([0-9]+)')::bigint) AS low,
        bool_or(pg_get_expr(c.relpartbound, c.oid) LIKE '%MINVALUE%') AS whole
    FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent AND p.relkind = 'p'
    JOIN pg_class c ON c.oid = i.inhrelid GROUP BY p.relname, p.relowner
"""

Order = dict[str, str]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stored:
    """What is there: the orders, and what it took."""

    orders: int
    records: int
    seconds: float


async def load(system: System, layout: Layout, say: Say, *, days: int = DAYS) -> Stored:
    """Have at least `layout.stored` finished orders in the databases, spread over the last `days`.

    The system is one of a shard, with the layout's catalogue and no other users; its accounts have enough.
    Its services are stopped meanwhile. Raises Failed when the sample does not come to rest.
    """
    if layout.shards > 1:
        raise Failed("--stored is for one shard")
    began = time.perf_counter()
    window, placed = await _sampled(system, layout.names)
    say(f"{placed} orders placed and ended in {time.perf_counter() - began:.1f} s")
    shifts = shifts_ms(window, -(-layout.stored // placed) - 1, days)
    window.check(min(shifts, default=0))
    names = [replica(name, one) for name in SERVICES for one in range(1, system.plan.replicas + 1)]
    await asyncio.gather(*map(system.stop, names))
    copying = (_copy_rows(system, service, window, shifts, say) for service in TABLES)
    records, _ = await asyncio.gather(
        _copy_ledger(system, window, shifts), asyncio.gather(*copying)
    )
    days_closed = await _forget_books(system)
    await asyncio.gather(*map(system.start_again, names))
    orders = placed * (len(shifts) + 1)
    took = time.perf_counter() - began
    say(f"{orders:,} orders with {records:,} records of the ledger stored in {took:.0f} s")
    await _booked(system, days_closed)
    for service in ("order", "delivery", "pay", "finance"):
        async with system.postgres.admin(f"shoudan_{service}") as db:
            await db.execute("VACUUM (ANALYZE)")
    took = time.perf_counter() - began
    say(f"{days_closed} days copied by finance, all tables vacuumed: {took:.0f} s in all")
    return Stored(orders, records, took)


def shifts_ms(window: Window, copies: int, days: int) -> list[int]:
    """How much later each copy is, oldest first and all below zero; none touches another."""
    if copies <= 0:
        return []
    step = max(window.span_ms + GAP_MS, days * 86_400_000 // copies)
    return [-step * one for one in range(copies, 0, -1)]


# ---------------------------------------------------------------- the sample
def sample(channels: Sequence[str], numbers: Sequence[str], inbox: str) -> list[Order]:
    """The requests: of every channel in turn, some of several units or parts, with one that fails.

    Numbers are such that a copy has its own, as if the partner had counted on.
    """
    made: list[Order] = []
    for at, number in enumerate(numbers):
        order = {
            "channel_no": channels[at % len(channels)],
            "line_id": "1",
            "carrier_no": "ZSH",
            "invoice_type": "1",
            "num": "1",
            "face": "200",
            "amount": "198",
            "rechage_account": f"1000110{at * 7919 % 10_000:04}0000",
            "request_no": number,
            "notify_url": inbox,
        }
        made.append(order | OTHERS.get(at, {}))
    return made


_TEST: Final = {"channel_no": "test"}
_PHONE: Final = _TEST | {"line_id": "3", "carrier_no": "YD", "rechage_account": "13800010000"}
# Of the demonstration's first channel, by their place in the sample.
OTHERS: Final[Mapping[int, Order]] = {
    3: _TEST | {"num": "2", "amount": "396"},
    7: _TEST | {"carrier_no": "ZSY", "face": "100", "amount": "98"},
    11: _PHONE | {"face": "50", "amount": "49.5"},
    14: _PHONE | {"face": "100", "amount": "99"},
    17: _TEST | {"num": "3", "amount": "594"},
    19: {"channel_no": HASTY, "rechage_account": "100011000000001"},  # refused by every supplier
    23: _TEST | {"face": "1000", "amount": "990"},  # in ten parts
    29: _TEST | {"num": "2", "amount": "396"},  # one of them is refunded
    31: _TEST | {"carrier_no": "ZSY", "face": "100", "amount": "98"},
    37: _PHONE | {"face": "50", "amount": "49.5"},
}
REFUNDED: Final = 29


async def _sampled(system: System, channels: Sequence[str]) -> tuple[Window, int]:
    """Place the sample and wait until nothing of it moves any more; the numbers it made."""
    began = datetime.now(UTC)
    first = first_of(began)
    numbers = [str(first + at) for at in range(SAMPLE + 1)]
    orders = sample(channels, numbers[:SAMPLE], f"{system.sandbox_url}/inbox/stored")
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as http:
        for order in orders:
            await _ask(http, system, "/order/request", order)
        await _rest(system, SAMPLE)
        paid_back = {
            "channel_no": orders[REFUNDED]["channel_no"],
            "request_no": orders[REFUNDED]["request_no"],
            "refund_no": numbers[SAMPLE],
            "refund_num": "1",
            "notify_url": orders[REFUNDED]["notify_url"],
        }
        await _ask(http, system, "/refund/mandatory", paid_back)
        await _rest(system, SAMPLE)
    return Window.between(began, datetime.now(UTC) + timedelta(seconds=1)), SAMPLE


async def _ask(http: aiohttp.ClientSession, system: System, path: str, order: Order) -> None:
    async with http.get(system.gateway_url + path, params=order) as answer:
        if answer.status != 200:
            raise Failed(f"an order of the sample was refused: {await answer.text()}")


async def _rest(system: System, placed: int) -> None:
    async def resting() -> bool:
        async with system.postgres.admin("shoudan_order") as opened:
            db: Any = opened
            open_, stored = await db.fetchrow(_RESTLESS)
        return not open_ and stored >= placed

    if not await until(resting, REST_S_MAX, every_s=LOOK_S):
        raise Failed("the sample did not come to rest")


# ---------------------------------------------------------------- the copies
async def _copy_rows(
    system: System, service: str, window: Window, shifts: Sequence[int], say: Say
) -> None:
    ring = (await _settings(system, service)).key_ring()
    async with system.postgres.admin(f"shoudan_{service}") as db:
        await db.execute("SET synchronous_commit = off")
        await lay(db)
        for table in TABLES[service]:
            more = " AND key ~ '^[0-9]{18,19}$'" if table == "event" else ""
            rows = await read(db, table, window, more)
            if not rows.rows:
                continue
            began = time.perf_counter()
            seals = SealedColumn(table, ring) if table in SEALED else None
            template = Template(rows, window, seals)
            await write(db, rows, map(template.at, shifts))
            count, took = len(rows.rows) * len(shifts), time.perf_counter() - began
            say(f"{table}: {count:,} rows in {took:.1f} s")


async def _copy_ledger(system: System, window: Window, shifts: Sequence[int]) -> int:
    """The records; statements and head logs of the chains that were are gone with those."""
    settings = await _settings(system, "pay")
    folder: Path = settings.ledger_statements_dir
    await asyncio.to_thread(_empty, folder)
    async with system.postgres.admin("shoudan_pay") as db:
        await db.execute("SET synchronous_commit = off")
        keys = settings.ledger_keys.reveal()
        return await stored_ledger.copy(db, window, keys, shifts, datetime.now(UTC))


def _empty(folder: Path) -> None:
    for one in folder.rglob("*"):
        if one.is_file():
            with suppress(FileNotFoundError):
                one.unlink()


async def lay(db: Any) -> None:
    """A new system has parts from this month on; what is older would fill the part for the rest."""
    for one in await db.fetch(_PARENTS):
        if not one["whole"]:
            name, part = one["name"], f"{one['name']}_{FIRST}"
            await db.execute(
                f"CREATE TABLE {part} PARTITION OF {name} FOR VALUES FROM (MINVALUE) TO ({one['low']})"
                f" WITH ({stored_as()})"
            )
            await db.execute(f"ALTER TABLE {part} OWNER TO {one['owner']}")


async def _forget_books(system: System) -> int:
    """Finance begins anew with the days there are; their number."""
    async with system.postgres.admin("shoudan_finance") as db:
        await db.execute(_BOOKS)
    async with system.postgres.admin("shoudan_pay") as opened:
        db: Any = opened
        return await db.fetchval("SELECT count(*) FROM ledger_day")


async def _booked(system: System, days_closed: int) -> None:
    """Wait until finance has copied and proved all days."""

    async def done() -> bool:
        async with system.postgres.admin("shoudan_finance") as opened:
            db: Any = opened
            complete, differs = await db.fetchrow(_BOOKED, days_closed)
        if differs:
            raise Failed("finance found a day of the copies that differs")
        return complete

    if not await until(done, BOOKED_S_MAX, every_s=LOOK_S):
        raise Failed("finance did not complete the days of the copies")


async def _settings(system: System, service: str) -> Any:
    one = (await asyncio.to_thread(declared))[service]
    return one.settings.load(service, environ={**os.environ, **system.env})
