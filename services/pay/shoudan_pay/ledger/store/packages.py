"""Statements on service packages and their records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db import pages
from shoudan_kit.db.columns import Rows, literal, types
from shoudan_kit.db.pages import Asked, Page
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_pay.ledger.entries import MoveKey, Package, PackageKey, PackageRecord
from shoudan_pay.ledger.states import AccountStatus
from shoudan_pay.ledger.tables import PACKAGE_INFO, PACKAGE_RECORD

_KEYS: Final = {"ident": "text", "groups": "text", "eid": "text", "spkg_id": "text"}
_COLUMNS: Final = f"""p.pkg_id, a.ident, a.groups, a.eid,
    a.status = {literal(AccountStatus.LOCKED)} AS locked, p.spkg_id, p.pkg_name AS name,
    p.total_capacity, p.total_remain, p.capacity_daily, p.deduct_today, p.deduct_date, p.expires"""
_FOUND: Final = f"""FROM {unnest(**_KEYS)}
JOIN account_info a ON a.ident = given.ident AND a.groups = given.groups AND a.eid = given.eid
JOIN package_info p ON p.account_id = a.account_id AND p.spkg_id = given.spkg_id
ORDER BY p.pkg_id"""
_BY_KEY = statement(f"SELECT {_COLUMNS}, shoudan_now() AS now {_FOUND}")
_LOCK = statement(f"SELECT {_COLUMNS}, shoudan_now() AS now {_FOUND} FOR UPDATE OF p")

# Sorted, so that two makers of the same packages never deadlock.
_CREATE = statement(f"""
INSERT INTO package_info (account_id, spkg_id, pkg_name, total_capacity, total_remain, capacity_daily,
    deduct_today, deduct_date, expires, book_time, last_update)
SELECT account_id, spkg_id, name, total_capacity, total_capacity, capacity_daily, 0,
    CAST(shoudan_now() AT TIME ZONE 'Asia/Shanghai' AS date), expires, shoudan_now(), shoudan_now()
FROM {
    unnest(
        account_id="bigint",
        spkg_id="text",
        name="text",
        total_capacity="bigint",
        capacity_daily="bigint",
        expires="date",
    )
} ORDER BY account_id, spkg_id
ON CONFLICT DO NOTHING RETURNING account_id, spkg_id
""")
_MOVED: Final = ("pkg_id", "total_capacity", "total_remain", "deduct_today", "deduct_date")
_UPDATE = statement(f"""
UPDATE package_info p SET total_capacity = given.total_capacity, total_remain = given.total_remain,
    deduct_today = given.deduct_today, deduct_date = given.deduct_date, last_update = shoudan_now()
FROM {unnest(**types(PACKAGE_INFO, *_MOVED))} WHERE p.pkg_id = given.pkg_id
""")

_PACKAGES: Final = Rows(Package)
_RECORDS: Final = Rows(PackageRecord)
_RECORD: Final = _RECORDS.of("r")
_RECORDS_BY_KEY = statement(f"""
SELECT {_RECORD} FROM {
    unnest(**types(PACKAGE_RECORD, "pkg_id", "change_type", "trade_no"))
} JOIN package_record r ON r.pkg_id = given.pkg_id AND r.change_type = given.change_type
    AND r.trade_no = given.trade_no
""")
_INSERT = statement(f"""
INSERT INTO package_record ({_RECORDS.of()})
SELECT {_RECORDS.of("given")} FROM {unnest(**types(PACKAGE_RECORD, *_RECORDS.names))}
""")

# A range of package_record_of: numbers grow with time.
_OF_PACKAGE: Final = """r.pkg_id = :pkg_id AND r.record_id < :before AND r.record_id >= :since
    AND (CAST(:start AS timestamptz) IS NULL OR r.create_time >= :start)
    AND (CAST(:stop AS timestamptz) IS NULL OR r.create_time < :stop)"""
_PAGE = statement(f"""
SELECT {_RECORD} FROM package_record r WHERE {_OF_PACKAGE}
ORDER BY r.record_id DESC LIMIT :most OFFSET :offset
""")
_COUNT = statement(f"""
SELECT count(1) FROM (SELECT 1 FROM package_record r WHERE {_OF_PACKAGE}
    ORDER BY r.record_id DESC LIMIT {pages.NUMBERED_MAX}) counted
""")


@dataclass(frozen=True, slots=True)
class NewPackage:
    """A package to make."""

    account_id: int
    spkg_id: str
    name: str
    total_capacity: int
    capacity_daily: int
    expires: date


@dataclass(frozen=True, slots=True)
class Period:
    """Records of one package, from inclusive, to exclusive; None is open."""

    pkg_id: int
    start: datetime | None
    stop: datetime | None


@dataclass(frozen=True, slots=True)
class Found:
    """Packages that exist, and the time it is; `now` is None when none does."""

    packages: dict[PackageKey, Package]
    now: datetime | None


async def by_key(db: AsyncConnection, keys: Iterable[PackageKey], *, lock: bool = False) -> Found:
    """Packages by their owners' names; with `lock` held to the end of the transaction, in id order."""
    flat = [(*account, spkg_id) for account, spkg_id in keys]
    binds = {name: [row[at] for row in flat] for at, name in enumerate(_KEYS)}
    rows = (await db.execute(_LOCK if lock else _BY_KEY, binds)).all()
    packages = {one.key: one for one in _PACKAGES.all(rows)}
    return Found(packages, rows[0].now if rows else None)


async def create(db: AsyncConnection, new: Sequence[NewPackage]) -> set[tuple[int, str]]:
    """Make those whose account has none with their number; (account_id, spkg_id) of the new ones."""
    binds = columns(
        new, "account_id", "spkg_id", "name", "total_capacity", "capacity_daily", "expires"
    )
    return {(row[0], row[1]) for row in (await db.execute(_CREATE, binds)).all()}


async def records_by_key(
    db: AsyncConnection, keys: Sequence[MoveKey]
) -> dict[MoveKey, PackageRecord]:
    """The records that have these keys."""
    binds = {
        "pkg_id": [key[0] for key in keys],
        "change_type": [key[1] for key in keys],
        "trade_no": [key[2] for key in keys],
    }
    return {one.key: one for one in _RECORDS.all(await db.execute(_RECORDS_BY_KEY, binds))}


async def write(
    db: AsyncConnection, records: Sequence[PackageRecord], packages: Sequence[Package]
) -> None:
    """Write records and what they leave of their packages; the packages are locked."""
    await db.execute(_INSERT, columns(records, *_RECORDS.names))
    await db.execute(_UPDATE, columns(packages, *_MOVED))


async def page(db: AsyncConnection, period: Period, asked: Asked) -> Page[PackageRecord]:
    """Records newest first; none is found by a number beyond NUMBERED_MAX."""
    if asked.offset > pages.NUMBERED_MAX:
        return Page([], "", 0, cut=True)
    binds = {
        "pkg_id": period.pkg_id,
        "start": period.start,
        "stop": period.stop,
        "before": min(asked.start, pages.end_id(period.stop)),
        "since": pages.first_id(period.start),
    }
    most = asked.most + 1
    rows = (await db.execute(_PAGE, binds | {"offset": asked.offset, "most": most})).all()
    shown = _RECORDS.all(rows[: asked.most])
    full = len(rows) == most
    count = 0
    if asked.counted:
        count = asked.offset + len(shown)
        if full or (asked.offset and not shown):
            count = (await db.execute(_COUNT, binds)).scalar_one()
    return Page(shown, str(shown[-1].record_id) if full else "", count, cut=False)
