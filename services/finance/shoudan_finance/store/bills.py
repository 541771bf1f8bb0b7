"""Statements on bills and on the pieces of their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Final, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_finance.states import BILL, BillEvent, BillStatus, DayStatus, TradeDayStatus
from shoudan_finance.tables.bills import BILLS
from shoudan_kit.db.columns import Rows, literal, types
from shoudan_kit.db.text_statements import columns, statement, unnest

TEXT_MAX: Final = 256
# A merchant's bill is stored as the trade bill of a system of this name, which every release may read.
MERCHANT, TRADE, PAYSERVER = "merchant", "trade", "payserver"


@dataclass(frozen=True, slots=True)
class Spec:
    """Which bill; at most one has all of these."""

    kind: str
    ident: str
    groups: str
    eid: str
    first_day: date
    last_day: date
    format: str
    bom: int
    backtick: int
    packed: int


@dataclass(frozen=True, slots=True)
class NewBill(Spec):
    """One that is asked for."""

    bill_id: int


@dataclass(frozen=True, slots=True)
class Bill(Spec):
    """One row of bill."""

    bill_id: int
    status: BillStatus
    attempt: int
    file: str
    sha256: str
    bytes: int
    rows: int
    manifest: str
    what: str
    create_time: datetime
    publish_time: datetime | None


@dataclass(frozen=True, slots=True)
class Published:
    """What a bill is published with."""

    file: str
    sha256: str
    bytes: int
    rows: int
    manifest: str


@dataclass(frozen=True, slots=True)
class Place:
    """Behind which bill a page begins."""

    first_day: date
    bill_id: int


S = TypeVar("S", bound=Spec)

_BILL: Final = Rows(Bill)
_SPEC: Final = Rows(Spec)
_NEW: Final = Rows(NewBill)

_KEY: Final = types(BILLS, *_SPEC.names)

_ADD = statement(f"""
INSERT INTO bill ({_NEW.of()}, status, attempt, file, sha256, bytes, rows, manifest, what, create_time)
SELECT {_NEW.of("given")}, {literal(BILL.initial)}, 0, '', '', 0, 0, '', '', shoudan_now()
FROM {unnest(**types(BILLS, *_NEW.names))}
ON CONFLICT DO NOTHING RETURNING bill_id
""")
_FIND = statement(f"""
SELECT {_BILL.of()} FROM bill
WHERE {" AND ".join(f"{name} = CAST(:{name} AS {kind})" for name, kind in _KEY.items())}
""")
_GET = statement(f"SELECT {_BILL.of()} FROM bill WHERE bill_id = :bill_id")
_PAGE = statement(f"""
SELECT {_BILL.of()} FROM bill WHERE bill_id < :before ORDER BY bill_id DESC LIMIT :most
""")
_PAGE_OF = statement(f"""
SELECT {_BILL.of()} FROM bill
WHERE eid = :eid AND (first_day, bill_id) > (CAST(:from_day AS date), CAST(:after AS bigint))
ORDER BY first_day, bill_id LIMIT :most
""")
# A later process makes it anew: the one before finds that the bill is no longer its own.
_BEGIN = statement(f"""
UPDATE bill SET attempt = :attempt, rows = 0
WHERE bill_id = :bill_id AND status = {literal(BillStatus.MAKING)} RETURNING bill_id
""")
_CLEAR = statement("DELETE FROM bill_piece WHERE bill_id = :bill_id AND attempt <> :attempt")
_PROGRESS = statement(f"""
UPDATE bill SET rows = :rows
WHERE bill_id = :bill_id AND attempt = :attempt AND status = {literal(BillStatus.MAKING)}
RETURNING bill_id
""")
_PIECES = statement(f"""
INSERT INTO bill_piece (bill_id, attempt, number, body)
SELECT :bill_id, :attempt, given.number, given.body FROM {unnest(number="bigint", body="bytea")}
""")
_PUBLISH = statement("""
UPDATE bill SET status = :status, file = :file, sha256 = :sha256, bytes = :bytes, rows = :rows,
    manifest = :manifest, publish_time = shoudan_now()
WHERE bill_id = :bill_id AND attempt = :attempt AND status = ANY(CAST(:sources AS smallint[]))
RETURNING bill_id
""")
_MOVE = statement("""
UPDATE bill SET status = :status, what = :what
WHERE bill_id = :bill_id AND attempt = :attempt AND status = ANY(CAST(:sources AS smallint[]))
RETURNING bill_id
""")
_READ = statement("""
SELECT number, body FROM bill_piece
WHERE bill_id = :bill_id AND attempt = :attempt AND number > :after ORDER BY number LIMIT 1
""")
_DAYS_TO_BILL = statement(f"""
SELECT f.day FROM finance_day f
WHERE f.status = {literal(DayStatus.COMPLETE)} AND f.day >= CAST(:from_day AS date)
    AND f.day <= CAST(:to_day AS date)
    AND NOT EXISTS (SELECT FROM bill_day b WHERE b.day = f.day AND b.kind = :kind)
ORDER BY f.day LIMIT :most
""")
_TRADE_DAYS_TO_BILL = statement(f"""
SELECT f.day FROM trade_day f
WHERE f.status <> {literal(TradeDayStatus.FILLING)} AND f.day >= CAST(:from_day AS date)
    AND f.day <= CAST(:to_day AS date)
    AND NOT EXISTS (SELECT FROM bill_day b WHERE b.day = f.day AND b.kind = :kind)
ORDER BY f.day LIMIT :most
""")
_BILLED = statement("""
INSERT INTO bill_day (day, kind, create_time) VALUES (CAST(:day AS date), :kind, shoudan_now())
ON CONFLICT DO NOTHING RETURNING day
""")


def _stored(spec: S) -> S:
    return replace(spec, kind=TRADE, ident=PAYSERVER) if spec.kind == MERCHANT else spec


def _read(row: Bill) -> Bill:
    stored = row.kind == TRADE and row.ident == PAYSERVER
    return replace(row, kind=MERCHANT, ident="") if stored else row


async def add(db: AsyncConnection, bills: Sequence[NewBill]) -> list[int]:
    """Ask for bills; the ids of those that were not asked for before."""
    rows = [_stored(one) for one in bills]
    return list((await db.execute(_ADD, columns(rows, *_NEW.names))).scalars())


async def find(db: AsyncConnection, spec: Spec) -> Bill | None:
    """The bill of these, if it was asked for."""
    row = _stored(spec)
    found = _BILL.one(await db.execute(_FIND, {n: getattr(row, n) for n in _SPEC.names}))
    return None if found is None else _read(found)


async def get(db: AsyncConnection, bill_id: int) -> Bill | None:
    """One bill."""
    found = _BILL.one(await db.execute(_GET, {"bill_id": bill_id}))
    return None if found is None else _read(found)


async def page(db: AsyncConnection, before: int, most: int) -> list[Bill]:
    """Bills that were asked for before one, newest first."""
    return [
        _read(one) for one in _BILL.all(await db.execute(_PAGE, {"before": before, "most": most}))
    ]


async def page_of(db: AsyncConnection, eid: str, after: Place, most: int) -> list[Bill]:
    """Bills of a channel, supplier or member behind one, by their first day."""
    binds = {"eid": eid, "from_day": after.first_day, "after": after.bill_id, "most": most}
    return [_read(one) for one in _BILL.all(await db.execute(_PAGE_OF, binds))]


async def begin(db: AsyncConnection, bill_id: int, attempt: int) -> bool:
    """Begin to make it, without what a process before left; False when it is not to be made."""
    binds = {"bill_id": bill_id, "attempt": attempt}
    if (await db.execute(_BEGIN, binds)).first() is None:
        return False
    await db.execute(_CLEAR, binds)
    return True


async def append(
    db: AsyncConnection, bill: Bill, attempt: int, rows: int, pieces: Sequence[tuple[int, bytes]]
) -> bool:
    """Store pieces of the file; False when another process has begun to make it."""
    key = {"bill_id": bill.bill_id, "attempt": attempt}
    if (await db.execute(_PROGRESS, key | {"rows": rows})).first() is None:
        return False
    given = {"number": [one[0] for one in pieces], "body": [one[1] for one in pieces]}
    await db.execute(_PIECES, key | given)
    return True


async def publish(db: AsyncConnection, bill_id: int, attempt: int, made: Published) -> bool:
    """It is published; False when another process makes it, or has."""
    event = BillEvent.PUBLISHED
    binds = {
        "bill_id": bill_id,
        "attempt": attempt,
        "status": BILL.target(event),
        "sources": list(BILL.sources(event)),
        "file": made.file,
        "sha256": made.sha256,
        "bytes": made.bytes,
        "rows": made.rows,
        "manifest": made.manifest,
    }
    return (await db.execute(_PUBLISH, binds)).first() is not None


async def move(
    db: AsyncConnection, bill_id: int, attempt: int, event: BillEvent, what: str = ""
) -> bool:
    """It failed, or is made again; False when it is beyond that, or another process makes it."""
    binds = {
        "bill_id": bill_id,
        "attempt": attempt,
        "status": BILL.target(event),
        "sources": list(BILL.sources(event)),
        "what": what[:TEXT_MAX],
    }
    return (await db.execute(_MOVE, binds)).first() is not None


async def piece(db: AsyncConnection, bill: Bill, after: int) -> bytes | None:
    """The piece of a bill's file behind one; None after the last."""
    binds = {"bill_id": bill.bill_id, "attempt": bill.attempt, "after": after}
    found = (await db.execute(_READ, binds)).first()
    return None if found is None else bytes(found.body)


async def days_to_bill(
    db: AsyncConnection, kind: str, first: date, last: date, most: int
) -> list[date]:
    """Days whose facts are here and whose bills have not been asked for, oldest first."""
    given = _DAYS_TO_BILL if kind == "fund" else _TRADE_DAYS_TO_BILL
    binds = {"from_day": first, "to_day": last, "kind": kind, "most": most}
    return list((await db.execute(given, binds)).scalars())


async def billed(db: AsyncConnection, day: date, kind: str) -> bool:
    """The bills of a day are asked for; False when they were before."""
    return (await db.execute(_BILLED, {"day": day, "kind": kind})).first() is not None
