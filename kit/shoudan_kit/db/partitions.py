"""Monthly parts of the tables that are declared `by_month`: made ahead, watched, and dropped when old.

Numbers hold the time (`shoudan_kit.ids`), so a month is a range of them. The owner makes the parts, at every
`shoudan migrate`; a service's role cannot. What fits no part goes to `<table>_rest`: no insert is refused
for want of a part. A service's role has rights on the table and none on its parts.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, MetaData, Table, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit import metrics
from shoudan_kit.db.foundation import FIRST, REST, partition_key, partitioned, rest_part, stored_as
from shoudan_kit.db.owner import PATIENT, Patience, alone, as_owner, in_time
from shoudan_kit.db.pool import Database
from shoudan_kit.db.shard_map import FIRST_SCHEMA
from shoudan_kit.db.text_statements import statement
from shoudan_kit.ids import first_of, time_of
from shoudan_kit.log import get_logger

# A release a quarter makes parts in time; each part that is empty costs a query by another key one look.
MONTHS_AHEAD: Final = 6
MONTHS_MIN: Final = 3  # this month and the two after it: fewer is reported by metric and log
WATCH_EVERY_S: Final = 600.0
KEPT: Final = timedelta(days=90)  # younger rows may belong to what is open, refunded or asked about

PARTS_MISSING: Final = metrics.worst(
    "parts_missing", f"Of the next {MONTHS_MIN} months, how many have no part.", ("table",)
)
PARTS_REST_BYTES: Final = metrics.total(
    "parts_rest_bytes",
    "Size of the part for rows that fit no month; 0 unless parts ran out.",
    ("table",),
)

_PARTS: Final = statement("""
SELECT parent.relname AS owner, part.relname AS name,
    pg_get_expr(part.relpartbound, part.oid) AS bound, pg_relation_size(part.oid) AS heap_bytes,
    pg_total_relation_size(part.oid) AS total_bytes,
    CASE WHEN starts_with(obj_description(part.oid, 'pg_class'), 'hold: ')
        THEN substr(obj_description(part.oid, 'pg_class'), 7) ELSE '' END AS hold
FROM pg_inherits JOIN pg_class parent ON parent.oid = inhparent AND parent.relkind = 'p'
JOIN pg_class part ON part.oid = inhrelid
WHERE parent.relnamespace = CAST(CAST(current_schema() AS text) AS regnamespace)
ORDER BY parent.relname, part.relname
""")
_NOW: Final = statement("SELECT shoudan_now()")
_KIND: Final = text("""
SELECT CAST(relkind AS text) FROM pg_class
WHERE relname = :name AND relnamespace = CAST(CAST(current_schema() AS text) AS regnamespace)
""")
_INDEXES: Final = text("""
SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename = :name
""")
_OWED: Final = text("SELECT EXISTS (SELECT FROM outbox WHERE NOT published AND batch_id < :end)")
_FROM: Final = re.compile(r"FROM \('?(\d+)'?\)")
_TO: Final = re.compile(r"TO \('?(\d+)'?\)")

_log = get_logger("parts")

Grant = Callable[[Connection], None]
Prove = Callable[[AsyncConnection, "Part"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Part:
    """A part and its range: None is without an end on this side; the rest has neither.

    `hold` says why it may not be dropped; empty when it may.
    """

    table: str
    name: str
    low: int | None
    high: int | None
    heap_bytes: int
    total_bytes: int
    hold: str = ""

    @property
    def rest(self) -> bool:
        """Whether it takes what fits no other."""
        return self.high is None


@dataclass(frozen=True, slots=True)
class Span:
    """Rows that lie in a table of their own, `source`, and become the part `name`."""

    source: str
    name: str
    low: int | None
    high: int


class Kept(Exception):
    """Parts that may not be dropped yet, and why."""


def month_after(moment: datetime, count: int = 1) -> datetime:
    """The first moment of the month `count` months later (UTC)."""
    years, month = divmod(
        moment.astimezone(UTC).year * 12 + moment.astimezone(UTC).month - 1 + count, 12
    )
    return datetime(years, month + 1, 1, tzinfo=UTC)


def found(rows: Iterable[Any]) -> list[Part]:
    """The rows of the catalogue as parts."""
    parts: list[Part] = []
    for row in rows:
        low, high = _FROM.search(row.bound), _TO.search(row.bound)
        bounds = (low and int(low[1]), high and int(high[1]))
        sizes = (row.heap_bytes, row.total_bytes)
        parts.append(Part(row.owner, row.name, *bounds, *sizes, row.hold))
    return parts


def missing(parts: Iterable[Part], now: datetime) -> dict[str, int]:
    """Of each table: how many of the next MONTHS_MIN months have no part."""
    ends: dict[str, int] = {}
    for one in parts:
        ends[one.table] = max(one.high or 0, ends.get(one.table, 0))
    wanted = [first_of(month_after(now, count)) for count in range(1, MONTHS_MIN + 1)]
    return {table: sum(end < month for month in wanted) for table, end in ends.items()}


def planned(connection: Connection, metadata: MetaData) -> list[str]:
    """What `lay` would do, a sentence for each table; nothing for a table that is not there yet."""
    said: list[str] = []
    for table in partitioned(metadata):
        kind = connection.execute(_KIND, {"name": table.name}).scalar()
        if kind == "r":
            said.append(f"{table.name}: its rows become the first of monthly parts")
        elif kind == "p" and (months := _months(connection, table, _now(connection))):
            said.append(f"{table.name}: parts up to {months[-1]:%Y-%m}")
    return said


async def lay(connection: AsyncConnection, table: Table, grant: Grant, patience: Patience) -> None:
    """Make the table partitioned if it is not, and the parts that are missing. Repeats change nothing.

    Rows stay where they are: the table, or the rest when parts had run out, becomes a part as it stands.
    That its rows fit is proved before, while writers go on; the exclusive locks last for moments.
    """
    what = f"parts of {table.name}"
    span = await in_time(connection, what, patience, partial(_outside, table))
    if span is not None:
        await in_time(connection, what, patience, partial(_fence, table, span))
        await in_time(connection, what, patience, partial(_prove, table, span))
        close = partial(_close if span.low else partial(_become, grant), table, span)
        await in_time(connection, what, patience, close)
    await in_time(connection, what, patience, partial(_prepare, table))


async def parts_of(owner_url: str, schema: str = FIRST_SCHEMA) -> list[Part]:
    """The parts of a schema of a database, by table and name."""
    async with as_owner(owner_url, schema) as connection:
        return found((await connection.execute(_PARTS)).all())


async def ended(owner_url: str, before: datetime, schema: str = FIRST_SCHEMA) -> list[Part]:
    """The parts that end at `before` or earlier, by table and age. Raises Kept when `before` is to come."""
    async with as_owner(owner_url, schema) as connection, connection.begin():
        now: datetime = (await connection.execute(_NOW)).scalar_one()
        if before > now:
            raise Kept(f"rows are still added: --before {now:%Y-%m-%d} or earlier")
        return await _ended(connection, before)


async def drop(
    owner_url: str,
    before: datetime,
    patience: Patience = PATIENT,
    *,
    schema: str = FIRST_SCHEMA,
    ask: bool = False,
    prove: Prove | None = None,
) -> list[Part]:
    """Drop the parts that end at `before` or earlier, whole; gives them. `ask`: only say which.

    `prove` raises for a part that may not go, after whose predecessors are gone. Raises Kept when `before`
    is younger than KEPT, an event of them is not published yet, or one is on hold.
    """
    async with as_owner(owner_url, schema) as connection:
        await alone(connection)
        async with connection.begin():
            now: datetime = (await connection.execute(_NOW)).scalar_one()
            old = await _ended(connection, before)
            end = max((one.high or 0 for one in old if one.table == "event"), default=0)
            owed = (await connection.execute(_OWED, {"end": end})).scalar_one()
        if before > now - KEPT:
            raise Kept(
                f"rows are kept for {KEPT.days} days: --before {now - KEPT:%Y-%m-%d} or earlier"
            )
        if owed:
            raise Kept("events of these parts are not published yet: shoudan_outbox_lag_seconds")
        if held := [one for one in old if one.hold]:
            raise Kept(f"{held[0].name} is on hold: {held[0].hold}")
        for one in () if ask else old:
            if prove is not None:
                await prove(connection, one)
            await in_time(connection, f"part {one.name}", patience, partial(_drop, one))
        return old


async def hold(owner_url: str, name: str, reason: str, schema: str = FIRST_SCHEMA) -> None:
    """Keep a part from being dropped until the hold is lifted, with an empty reason. Raises Kept."""
    async with as_owner(owner_url, schema) as connection, connection.begin():
        if name not in {one.name for one in found((await connection.execute(_PARTS)).all())}:
            raise Kept(f"there is no part {name}: shoudan db parts")
        words = f"hold: {reason}".replace("'", "''") if reason else ""
        await connection.exec_driver_sql(f"COMMENT ON TABLE {name} IS '{words}'")


async def _ended(connection: AsyncConnection, before: datetime) -> list[Part]:
    parts = found((await connection.execute(_PARTS)).all())
    old = [one for one in parts if one.high is not None and one.high <= first_of(before)]
    return sorted(old, key=lambda one: (one.table, one.low or 0))


def watching(database: Database) -> Callable[[], Awaitable[None]]:
    """A background loop that reports by metric and log when parts run out."""

    async def watch_parts() -> None:
        while True:
            await watch(database)
            await asyncio.sleep(WATCH_EVERY_S)

    return watch_parts


async def watch(database: Database) -> None:
    """One look."""
    async with database.connect() as db:
        now: datetime = (await db.execute(_NOW)).scalar_one()
        parts = found((await db.execute(_PARTS)).all())
    for table, months in missing(parts, now).items():
        rest_bytes = sum(one.heap_bytes for one in parts if one.table == table and one.rest)
        PARTS_MISSING(table).set(months)
        PARTS_REST_BYTES(table).set(rest_bytes)
        if months or rest_bytes:
            _log.warning("parts_run_out", table=table, months_missing=months, rest_bytes=rest_bytes)


def _now(connection: Connection) -> datetime:
    now: datetime = connection.execute(_NOW).scalar_one()
    return now


def _end(connection: Connection, table: Table) -> int | None:
    """Where the last part ends."""
    highs = [one.high for one in found(connection.execute(_PARTS)) if one.table == table.name]
    return max((high for high in highs if high is not None), default=None)


def _months(connection: Connection, table: Table, now: datetime) -> list[datetime]:
    """The months that have no part yet, up to MONTHS_AHEAD after this one."""
    end = _end(connection, table)
    first = month_after(now, 0) if end is None else time_of(end)
    ahead = (month_after(now, count) for count in range(MONTHS_AHEAD + 1))
    return [month for month in ahead if month >= first]


def _outside(table: Table, connection: Connection) -> Span | None:
    """The rows that are in no part of their own: the whole table's, or the rest's."""
    kind = connection.execute(_KIND, {"name": table.name}).scalar()
    if kind is None:
        return None
    source = table.name if kind == "r" else f"{table.name}_{REST}"
    highest = _value(connection, f"SELECT max({partition_key(table)}) FROM {source}")
    if kind == "p" and highest is None:
        return None
    now = _now(connection)
    newest = now if highest is None else max(now, time_of(highest))
    # A month more than needed: until the rows are a part, a greater number is refused.
    high = first_of(month_after(newest, 2))
    if kind == "r":
        return Span(source, f"{table.name}_{FIRST}", None, high)
    low = _end(connection, table)
    assert low is not None
    return Span(source, _name(table, time_of(low)), low, high)


def _fence(table: Table, span: Span, connection: Connection) -> None:
    """From now on no row is added that the part would not take; PostgreSQL looks at no row yet."""
    key = partition_key(table)
    rule = (
        f"{key} < {span.high}"
        if span.low is None
        else f"{key} >= {span.low} AND {key} < {span.high}"
    )
    name = _rule(table)
    _run(
        connection,
        f"ALTER TABLE {span.source} DROP CONSTRAINT IF EXISTS {name}",
        f"ALTER TABLE {span.source} ADD CONSTRAINT {name} CHECK ({rule}) NOT VALID",
    )


def _prove(table: Table, span: Span, connection: Connection) -> None:
    """Looks at every row, beside readers and writers; attaching then looks at none."""
    _run(connection, f"ALTER TABLE {span.source} VALIDATE CONSTRAINT {_rule(table)}")


def _become(grant: Grant, table: Table, span: Span, connection: Connection) -> None:
    """Put a partitioned table in the place of this one, with this one as its first part."""
    name, key = table.name, partition_key(table)
    indexes = connection.execute(_INDEXES, {"name": name}).all()
    comment = _value(connection, f"SELECT quote_literal(obj_description('{name}'::regclass))")
    _rename(connection, span)
    _run(
        connection,
        f"CREATE TABLE {name} (LIKE {span.name} INCLUDING ALL EXCLUDING INDEXES)"
        f" PARTITION BY RANGE ({key})",
        f"ALTER TABLE {name} DROP CONSTRAINT {_rule(table)}",
        f"COMMENT ON TABLE {name} IS {comment or 'NULL'}",
        f"ALTER TABLE {name} ADD CONSTRAINT {name}_pkey PRIMARY KEY ({key})",
        *(definition for index, definition in indexes if index != f"{name}_pkey"),
    )
    _forget_rights(connection, span.name)
    grant(connection)
    _attach(connection, table, span)


def _close(table: Table, span: Span, connection: Connection) -> None:
    """Make the rest the part of the months it was written in, and begin a new one."""
    _run(connection, f"ALTER TABLE {table.name} DETACH PARTITION {span.source}")
    _rename(connection, span)
    _attach(connection, table, span)


def _rename(connection: Connection, span: Span) -> None:
    """The table and its indexes, so that the names are free."""
    names = connection.execute(_INDEXES, {"name": span.source}).scalars().all()
    _run(
        connection,
        f"ALTER TABLE {span.source} RENAME TO {span.name}",
        *(f"ALTER INDEX {one} RENAME TO {one.replace(span.source, span.name, 1)}" for one in names),
    )


def _attach(connection: Connection, table: Table, span: Span) -> None:
    """By the rule that was proved; it is of no more use then."""
    low = "MINVALUE" if span.low is None else span.low
    _run(
        connection,
        f"ALTER TABLE {span.name} SET ({stored_as()})",
        f"ALTER TABLE {table.name} ATTACH PARTITION {span.name} FOR VALUES FROM ({low}) TO ({span.high})",
        f"ALTER TABLE {span.name} DROP CONSTRAINT {_rule(table)}",
        rest_part(table),
    )


def _prepare(table: Table, connection: Connection) -> None:
    """The months ahead. Made beside the table and attached: so inserts and queries do not wait."""
    if connection.execute(_KIND, {"name": table.name}).scalar() is None:
        return
    for month in _months(connection, table, _now(connection)):
        name, low, high = _name(table, month), first_of(month), first_of(month_after(month))
        _run(
            connection,
            f"CREATE TABLE {name} (LIKE {table.name} INCLUDING ALL) WITH ({stored_as()})",
            f"ALTER TABLE {table.name} ATTACH PARTITION {name} FOR VALUES FROM ({low}) TO ({high})",
        )


def _drop(part: Part, connection: Connection) -> None:
    _run(connection, f"DROP TABLE {part.name}")


def _forget_rights(connection: Connection, name: str) -> None:
    """What was granted on the table when it stood alone."""
    granted = text("""
SELECT DISTINCT quote_ident(rolname) FROM pg_class
CROSS JOIN LATERAL aclexplode(relacl) AS acl JOIN pg_roles ON pg_roles.oid = acl.grantee
WHERE relname = :name AND relnamespace = CAST(CAST(current_schema() AS text) AS regnamespace)
    AND acl.grantee <> relowner
""")
    roles = connection.execute(granted, {"name": name}).scalars().all()
    _run(connection, *(f"REVOKE ALL ON {name} FROM {role}" for role in roles))


def _name(table: Table, month: datetime) -> str:
    return f"{table.name}_{month:%Y%m}"


def _rule(table: Table) -> str:
    return f"{table.name}_part"


def _value(connection: Connection, sql: str) -> Any:
    return connection.execute(text(sql.replace(":", r"\:"))).scalar()


def _run(connection: Connection, *statements: str) -> None:
    for sql in statements:
        connection.execute(text(sql.replace(":", r"\:")))
