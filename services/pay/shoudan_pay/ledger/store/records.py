"""Statements on records: what a group commit reads and writes, and the pages read later."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db import pages
from shoudan_kit.db.columns import Rows, types
from shoudan_kit.db.pages import Asked, Page
from shoudan_kit.db.text_statements import FastConnection, columns, statement, unnest
from shoudan_pay.ledger.entries import Account, Head, QuoteKey, Record, RecordKey
from shoudan_pay.ledger.tables import ACCOUNT_RECORD

_RECORDS: Final = Rows(Record)
_COLUMNS: Final = _RECORDS.of("r")
_row: Final = attrgetter(*_RECORDS.names)
_KEY: Final = ("account_id", "trade_no", "trade_type", "change_type")
_QUOTE: Final = ("account_id", "ext_no", "trade_type", "change_type")

# A record that has left: what is kept of it, and what its account says.
_NOT_KEPT: Final = {
    "contra_account_id": """(SELECT a.contra_account_id FROM account_info a
        WHERE a.account_id = r.account_id) AS contra_account_id""",
    "floor_micros": "CAST(NULL AS bigint) AS floor_micros",
    "memo": "'' AS memo",
    "hash": "CAST('' AS bytea) AS hash",
    "day": "CAST(NULL AS date) AS day",
    "about": "CAST(0 AS smallint) AS about",
    "source": "'' AS source",
    "operator": "'' AS operator",
}
_GONE: Final = ", ".join(_NOT_KEPT.get(name, f"r.{name}") for name in _RECORDS.names)
# The last record of an account that has left from the front of its chain, 0 for none.
_EDGE: Final = """coalesce((SELECT e.seq FROM account_archived e
    WHERE e.account_id = a.account_id), 0)"""

# LATERAL with LIMIT keeps one probe of account_record_key per key, however few rows the planner believes in.
# `+ 0` keeps the account's own index out of the choice: while the table is small both cost the same, and a
# plan kept from then walks all records of a busy account for each key. What has left is looked through once
# something has.
_BY_KEY = statement(f"""
SELECT {_COLUMNS} FROM {unnest(**types(ACCOUNT_RECORD, *_KEY))} CROSS JOIN LATERAL (
    SELECT {_COLUMNS} FROM account_record r
    WHERE r.trade_no = given.trade_no AND r.account_id + 0 = given.account_id
        AND r.trade_type = given.trade_type AND r.change_type = given.change_type LIMIT 1
) r
UNION ALL
SELECT {_COLUMNS} FROM {unnest(**types(ACCOUNT_RECORD, *_KEY))} CROSS JOIN LATERAL (
    SELECT {_GONE} FROM account_archived_record r
    WHERE r.trade_no = given.trade_no AND r.account_id = given.account_id
        AND r.trade_type = given.trade_type AND r.change_type = given.change_type LIMIT 1
) r WHERE (SELECT EXISTS (SELECT FROM account_archived))
""")

# Everything that quotes a record is in the partial indexes on ext_no.
_RETURNED = statement(f"""
SELECT given.account_id, given.ext_no, given.trade_type, given.change_type, r.sum_micros FROM {
    unnest(**types(ACCOUNT_RECORD, *_QUOTE))
} CROSS JOIN LATERAL (
    SELECT sum(abs(one.amount_micros))::bigint AS sum_micros FROM (
        SELECT r.amount_micros FROM account_record r
        WHERE r.ext_no <> '' AND r.ext_no = given.ext_no AND r.account_id + 0 = given.account_id
            AND r.trade_type = given.trade_type AND r.change_type = given.change_type
        UNION ALL
        SELECT r.amount_micros FROM account_archived_record r
        WHERE r.ext_no <> '' AND r.ext_no = given.ext_no AND r.account_id = given.account_id
            AND r.trade_type = given.trade_type AND r.change_type = given.change_type
    ) one
) r WHERE r.sum_micros IS NOT NULL
""")

# An account that had moved ahead of the clock stays where it was: what its records say, too.
_MOVE = statement("""
UPDATE account_info a SET balance_micros = given.balance, seq = given.seq_last,
    head_hash = given.head, moved_time = greatest(a.moved_time, CAST(:moved AS timestamptz)),
    open_day = given.open_day
FROM unnest(CAST(:id AS bigint[]), CAST(:balance AS bigint[]), CAST(:seq AS bigint[]),
    CAST(:head AS bytea[]), CAST(:day AS date[])
) AS given(id, balance, seq_last, head, open_day)
WHERE a.account_id = given.id
""")

# The seq an account had reached at a time: records of one account never go back in time, so halving
# finds it in as many index probes as the seq has bits.
_SEQ_AT: Final = """
WITH RECURSIVE halving(low, high) AS (
    SELECT {edge}, a.seq
    UNION ALL
    SELECT CASE WHEN r.create_time {before} {time} THEN r.seq ELSE h.low END,
        CASE WHEN r.create_time {before} {time} THEN h.high ELSE r.seq - 1 END
    FROM halving h JOIN account_record r
        ON r.account_id = a.account_id AND r.seq = (h.low + h.high + 1) / 2
    WHERE h.low < h.high
)
SELECT low FROM halving WHERE low = high
"""

_BOUNDS = statement(f"""
SELECT CASE WHEN CAST(:start AS timestamptz) IS NULL THEN {_EDGE}
        ELSE ({_SEQ_AT.format(before="<", time=":start", edge=_EDGE)}) END,
    CASE WHEN CAST(:stop AS timestamptz) IS NULL THEN a.seq
        ELSE ({_SEQ_AT.format(before="<", time=":stop", edge=_EDGE)}) END
FROM account_info a WHERE a.account_id = :account_id
""")

# Of a platform account: the opposite of all it faces, each at that time. Not known where the record of that
# time has left.
_BALANCE_AT = statement(f"""
SELECT coalesce(sum(r.balance_micros), 0)::bigint, coalesce(max(r.seq), 0),
    coalesce(bool_or(found.low > 0 AND r.seq IS NULL), false)
FROM account_info a
CROSS JOIN LATERAL ({_SEQ_AT.format(before="<=", time=":time", edge=_EDGE)}) found
LEFT JOIN account_record r ON r.account_id = a.account_id AND r.seq = found.low
WHERE CASE WHEN :facing THEN a.contra_account_id = :account_id ELSE a.account_id = :account_id END
""")

_JOINED: Final = "account_record r JOIN account_info a ON a.account_id = r.account_id"
_JOINED_COLUMNS: Final = f"{_COLUMNS}, a.ident, a.groups, a.eid, a.account_name"
_KINDS: Final = """(:trade_no = '' OR r.trade_no = :trade_no)
    AND (:change_type = 0 OR r.change_type = :change_type)
    AND (:trade_type = 0 OR r.trade_type = :trade_type)"""
# One account: a range of its seq, newest first, straight from account_record_seq.
_OF_ACCOUNT: Final = (
    f"""r.account_id = :account_id AND r.seq > :since AND r.seq < :before AND {_KINDS}"""
)
# Several accounts: a range of record_id, which grows with time.
_OF_SEVERAL: Final = f"""r.record_id > :since AND r.record_id < :before
    AND (:ident = '' OR a.ident = :ident) AND (:groups = '' OR a.groups = :groups)
    AND (:eid = '' OR a.eid = :eid) AND {_KINDS}
    AND (CAST(:start AS timestamptz) IS NULL OR r.create_time >= :start)
    AND (CAST(:stop AS timestamptz) IS NULL OR r.create_time < :stop)"""
# One trade: the few rows account_record_key holds for it.
_OF_TRADE: Final = _OF_SEVERAL.replace(
    "(:trade_no = '' OR r.trade_no = :trade_no)", "r.trade_no = :trade_no"
)

_WHERES: Final = {"account": _OF_ACCOUNT, "several": _OF_SEVERAL, "trade": _OF_TRADE}
_ORDERS: Final = {"account": "r.seq", "several": "r.record_id", "trade": "r.record_id"}
_PAGES: Final = {
    name: statement(
        f"SELECT {_JOINED_COLUMNS} FROM {_JOINED} WHERE {where}"
        f" ORDER BY {_ORDERS[name]} DESC LIMIT :most OFFSET :offset"
    )
    for name, where in _WHERES.items()
}
# Where the walk of a page ends, by token and by number.
_EDGES: Final = {
    walk: pages.edge("account_record", "record_id", walk=walk)
    for walk in (pages.WALK_MAX, pages.NUMBERED_MAX)
}
_COUNTS: Final = {
    name: statement(f"SELECT count(1) FROM {_JOINED} WHERE {where}")
    for name, where in _WHERES.items()
}

# Records in the order of the chain; a row of account_record_seq per record and nothing sorted.
_CHAIN = statement(f"""
SELECT {_COLUMNS} FROM account_record r
WHERE (r.account_id, r.seq) > (:account_id, :seq) AND r.account_id <= :last_id
ORDER BY r.account_id, r.seq LIMIT :most
""")
# A piece of each chain given, straight from account_record_seq; as many rows as the pieces are long.
_PIECES = statement(f"""
SELECT {_COLUMNS} FROM {unnest(account_id="bigint", low="bigint", high="bigint")}
CROSS JOIN LATERAL (
    SELECT {_COLUMNS} FROM account_record r WHERE r.account_id = given.account_id
        AND r.seq > given.low AND r.seq <= given.high
) r ORDER BY r.account_id, r.seq
""")
# Two probes of account_record_seq for each account; rows only where something is not as it should be.
_STRAYS = statement(f"""
SELECT given.account_id, given.seq, stated.record_id AS stated_id, given.seq = 0 OR coalesce(
    stated.hash = given.hash AND stated.balance_micros = given.balance, false) AS as_stated,
    last.record_id AS last_id, last.seq AS last_seq
FROM {unnest(account_id="bigint", seq="bigint", balance="bigint", hash="bytea", high="bigint")}
LEFT JOIN LATERAL (
    SELECT r.record_id, r.balance_micros, r.hash FROM account_record r
    WHERE r.account_id = given.account_id AND r.seq = given.seq LIMIT 1
) stated ON true
LEFT JOIN LATERAL (
    SELECT r.record_id, r.seq FROM account_record r
    WHERE r.account_id = given.account_id AND r.seq > given.high ORDER BY r.seq DESC LIMIT 1
) last ON true
WHERE last.seq IS NOT NULL OR given.seq > 0 AND (stated.record_id IS NULL
    OR stated.hash <> given.hash OR stated.balance_micros <> given.balance)
ORDER BY given.account_id
""")
# Few rows of account_record_key for each number.
_OF_TRADES = statement(f"""
SELECT {_JOINED_COLUMNS} FROM unnest(CAST(:trade_nos AS text[])) AS given(trade_no)
CROSS JOIN LATERAL (
    SELECT {_COLUMNS} FROM account_record r WHERE r.trade_no = given.trade_no
    UNION ALL
    SELECT {_GONE} FROM account_archived_record r WHERE r.trade_no = given.trade_no
) r
JOIN account_info a ON a.account_id = r.account_id
ORDER BY r.create_time, r.record_id LIMIT :most
""")
# Where the chains of these accounts begin, of those whose front has left.
_EDGES_OF = statement("""
SELECT e.account_id, e.seq, e.balance_micros, e.hash FROM account_archived e
WHERE e.account_id = ANY(CAST(:ids AS bigint[])) ORDER BY e.account_id
""")
_TOTALS = statement("""
SELECT count(1), coalesce(sum(a.seq - coalesce(e.seq, 0)), 0)::bigint, count(e.seq) > 0
FROM account_info a LEFT JOIN account_archived e ON e.account_id = a.account_id
WHERE :ident = '' OR a.ident = :ident
""")


@dataclass(frozen=True, slots=True)
class Query:
    """Which records to list; empty fields do not filter."""

    account_id: int | None = None
    ident: str = ""
    groups: str = ""
    eid: str = ""
    trade_no: str = ""
    start: datetime | None = None
    stop: datetime | None = None
    change_type: int = 0
    trade_type: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """The records of one account with a seq above `low` and up to `high`."""

    account_id: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Stray:
    """An account whose record at `seq` is not the one stated (None: gone), or that has one behind its end."""

    account_id: int
    seq: int
    stated_id: int | None
    as_stated: bool
    last_id: int | None
    last_seq: int | None


@dataclass(frozen=True, slots=True)
class Shown:
    """A record with the name and key of its account."""

    record: Record
    account: tuple[str, str, str]
    account_name: str


async def by_key(db: AsyncConnection, keys: Iterable[RecordKey]) -> dict[RecordKey, Record]:
    """The records that have these keys."""
    binds = _binds(_KEY, keys)
    return {one.key: one for one in _RECORDS.all(await db.execute(_BY_KEY, binds))}


async def returned(db: AsyncConnection, keys: Iterable[QuoteKey]) -> dict[QuoteKey, int]:
    """How much refunds or reversals have given back already, without signs."""
    binds = _binds(_QUOTE, keys)
    rows = (await db.execute(_RETURNED, binds)).all()
    return {(row[0], row[1], row[2], row[3]): row[4] for row in rows}


def _binds(names: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> dict[str, list[Any]]:
    arrays: list[list[Any]] = [list(column) for column in zip(*rows, strict=True)]
    return dict(zip(names, arrays or [[] for _ in names], strict=True))


async def insert(db: AsyncConnection, records: Sequence[Record]) -> None:
    """Write records, and to each account what its last record left.

    The accounts are locked, so no other transaction can take the keys and numbers of these records.
    """
    last = list({r.account_id: r for r in records}.values())
    binds = {
        "id": [r.account_id for r in last],
        "balance": [r.balance_micros for r in last],
        "seq": [r.seq for r in last],
        "head": [r.hash for r in last],
        # The time of all that are not ahead of it.
        "moved": min(r.create_time for r in last),
        "day": [r.day for r in last],
    }
    await db.execute(_MOVE, binds)
    assert isinstance(db, FastConnection), "a Database gives no other"
    await db.copy("account_record", _RECORDS.names, map(_row, records))


async def page(db: AsyncConnection, query: Query, wanted: Asked) -> Page[Shown]:
    """One page, newest first: older than a seq when the query names one account, else than a record_id."""
    kind, binds = await _bounded(db, query)
    walk = pages.NUMBERED_MAX if wanted.numbered else pages.WALK_MAX
    before, since, offset = min(wanted.start, binds["before"]), binds["since"], wanted.offset
    if kind == "several":
        reached = await pages.walk_end(db, _EDGES[walk], before, since + 1) - 1
    elif kind == "trade":
        reached = since
    elif _plain(query):  # numbers without gaps: the page's own are known
        before, offset, reached = before - offset, 0, since
    else:
        reached = max(since, before - 1 - walk)
    binds |= {"before": before, "since": reached}
    most = wanted.most + 1
    rows = (await db.execute(_PAGES[kind], binds | {"offset": offset, "most": most})).all()
    shown = [_shown(row) for row in rows[: wanted.most]]
    full, cut = len(rows) == most, reached > since
    token = ""
    if full:
        last = shown[-1].record
        token = str(last.seq if kind == "account" else last.record_id)
    elif cut and not wanted.numbered:
        token = str(reached + 1)
    count = 0
    if wanted.counted:
        count = await _count(db, query, kind, binds, wanted.offset, len(shown), full)
    return Page(shown, token, count, cut=cut and not full)


def _plain(query: Query) -> bool:
    return not (query.trade_no or query.change_type or query.trade_type)


async def _count(
    db: AsyncConnection,
    query: Query,
    kind: str,
    binds: dict[str, Any],
    offset: int,
    shown: int,
    full: bool,
) -> int:
    """How many match within the walk: without reading them where the page or the seq says it."""
    if kind == "account" and _plain(query):
        return max(0, binds["before"] + offset - binds["since"] - 1)
    if not full and (shown or not offset):
        return offset + shown
    return (await db.execute(_COUNTS[kind], binds)).scalar_one()


async def of_trades(db: AsyncConnection, trade_nos: Sequence[str], most: int) -> list[Shown]:
    """All records of these trade numbers, oldest first."""
    rows = (await db.execute(_OF_TRADES, {"trade_nos": trade_nos, "most": most})).all()
    return [_shown(row) for row in rows]


def _shown(row: Any) -> Shown:
    return Shown(_RECORDS.read(row), (row.ident, row.groups, row.eid), row.account_name)


async def _bounded(db: AsyncConnection, query: Query) -> tuple[str, dict[str, Any]]:
    """Which statement answers the query, and its binds."""
    kinds = {
        "trade_no": query.trade_no,
        "change_type": query.change_type,
        "trade_type": query.trade_type,
    }
    if query.account_id is not None and not query.trade_no:
        times = {"start": query.start, "stop": query.stop, "account_id": query.account_id}
        low, high = (await db.execute(_BOUNDS, times)).one()
        return "account", kinds | {"account_id": query.account_id, "since": low, "before": high + 1}
    binds = kinds | {
        "ident": query.ident,
        "groups": query.groups,
        "eid": query.eid,
        "start": query.start,
        "stop": query.stop,
        "since": max(0, pages.first_id(query.start) - 1),
        "before": pages.end_id(query.stop),
    }
    return ("trade" if query.trade_no else "several"), binds


async def balance_at(
    db: AsyncConnection, account: Account, time: datetime
) -> tuple[int, int] | None:
    """The balance after the last record at or before `time`, and that record's seq (0 before the first).

    None when that record has left the database.
    """
    facing = account.contra_account_id is None
    binds = {"account_id": account.account_id, "facing": facing, "time": time}
    balance, seq, left = (await db.execute(_BALANCE_AT, binds)).one()
    if left:
        return None
    return (-balance, 0) if facing else (balance, seq)


async def chain(
    db: AsyncConnection, *, after: tuple[int, int], last_id: int, most: int
) -> list[Record]:
    """The next records in order of account and seq, behind `after` (account_id, seq)."""
    binds = {"account_id": after[0], "seq": after[1], "last_id": last_id, "most": most}
    return _RECORDS.all(await db.execute(_CHAIN, binds))


async def pieces(db: AsyncConnection, wanted: Sequence[Piece]) -> list[Record]:
    """The records of these pieces in order of account and seq."""
    binds = columns(wanted, "account_id", "low", "high")
    return _RECORDS.all(await db.execute(_PIECES, binds))


async def strays(db: AsyncConnection, stated: Sequence[tuple[Head, int]]) -> list[Stray]:
    """Of heads, each with the seq its account ends at now, those that records contradict."""
    binds = {
        "account_id": [head.account_id for head, _ in stated],
        "seq": [head.seq for head, _ in stated],
        "balance": [head.balance_micros for head, _ in stated],
        "hash": [head.hash for head, _ in stated],
        "high": [high for _, high in stated],
    }
    return Rows(Stray).all(await db.execute(_STRAYS, binds))


@dataclass(frozen=True, slots=True)
class Edge:
    """The last record of an account that has left from the front of its chain."""

    account_id: int
    seq: int
    balance_micros: int
    hash: bytes


async def edges(db: AsyncConnection, ids: Sequence[int]) -> dict[int, Edge]:
    """Where the chains of these accounts begin, of those whose front has left."""
    found = Rows(Edge).all(await db.execute(_EDGES_OF, {"ids": ids}))
    return {one.account_id: one for one in found}


async def totals(db: AsyncConnection, ident: str) -> tuple[int, int, bool]:
    """How many accounts there are, how many records their rows say are here, whether some have left."""
    accounts, records, left = (await db.execute(_TOTALS, {"ident": ident})).one()
    return accounts, records, left
