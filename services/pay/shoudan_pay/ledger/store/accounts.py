"""Statements on accounts and their alerts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shoudan_kit.db import pages
from shoudan_kit.db.columns import Rows, literal, types
from shoudan_kit.db.pages import Asked, Page
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_pay.ledger.entries import (
    PLATFORM,
    Account,
    Alert,
    Crossing,
    Head,
    Key,
    owner_digest,
)
from shoudan_pay.ledger.states import ACCOUNT, AccountStatus
from shoudan_pay.ledger.tables import ACCOUNT_ALERT, ACCOUNT_INFO

_ACCOUNTS: Final = Rows(Account)
_ALERT_ROWS: Final = Rows(Alert)
_KEYS: Final = types(ACCOUNT_INFO, "ident", "groups", "eid")
_COLUMNS: Final = f"""a.account_id, a.contra_account_id, a.ident, a.groups, a.eid, a.account_name AS name,
    a.balance_micros, a.credit_micros, a.status = {literal(AccountStatus.LOCKED)} AS locked,
    a.limited, a.watched, a.seq, a.head_hash,
    CASE WHEN a.moved_time > (SELECT shoudan_now()) THEN a.moved_time END AS ahead_time, a.open_day"""
# A platform account's balance is what the accounts it faces hold, with the other sign.
_COLUMNS_SHOWN: Final = f"{_COLUMNS}, a.create_time".replace(
    "a.balance_micros",
    """CASE WHEN a.contra_account_id IS NOT NULL THEN a.balance_micros ELSE -(
        SELECT coalesce(sum(f.balance_micros), 0)::bigint FROM account_info f
        WHERE f.contra_account_id = a.account_id) END AS balance_micros""",
)

# Locks in id order: two batches that share accounts never wait for each other in a circle.
_LOCKED: Final = f"""
FROM account_info a JOIN {unnest(**_KEYS)}
    ON a.ident = given.ident AND a.groups = given.groups AND a.eid = given.eid
ORDER BY a.account_id FOR UPDATE OF a
"""
_LOCK = statement(f"SELECT {_COLUMNS}, a.create_time {_LOCKED}")
# A group commit locks a thousand rows, and a moment costs the driver twenty times what a number does: the
# clock is a number, and no moment is read that does not matter.
_TO_POST: Final = (
    f"(SELECT CAST(extract(epoch FROM shoudan_now()) * 1000000 AS bigint)) AS now, {_COLUMNS}"
)
LOCK_TO_POST = statement(f"SELECT {_TO_POST} {_LOCKED}")
# By one walk along the ids, where each key is a search of its own among texts.
LOCK_BY_ID = statement(f"""
SELECT {_TO_POST} FROM account_info a WHERE a.account_id = ANY(CAST(:ids AS bigint[]))
ORDER BY a.account_id FOR UPDATE OF a
""")
IDS_KEPT: Final = 50_000
# Which id a key had, of each pool: a hint, and what it finds is held to the key.
_ids: Final[WeakKeyDictionary[AsyncEngine, dict[Key, int]]] = WeakKeyDictionary()

_BY_KEY = statement(f"""
SELECT {_COLUMNS_SHOWN} FROM account_info a JOIN {unnest(**_KEYS)}
    ON a.ident = given.ident AND a.groups = given.groups AND a.eid = given.eid
ORDER BY a.account_id
""")

# Platform accounts first and apart: the accounts below refer to them.
_CREATE_PLATFORMS = statement(f"""
INSERT INTO account_info (account_name, ident, groups, eid, balance_micros, credit_micros, status,
    limited, seq, head_hash, create_time, moved_time)
SELECT DISTINCT 'platform ' || given.groups, given.ident, '{PLATFORM}', given.groups, 0, 0,
    {literal(ACCOUNT.initial)}, false, 0, ''::bytea, shoudan_now(), shoudan_now()
FROM {unnest(ident="text", groups="text")}
WHERE NOT EXISTS (SELECT 1 FROM account_info a
    WHERE a.ident = given.ident AND a.groups = '{PLATFORM}' AND a.eid = given.groups)
ON CONFLICT DO NOTHING
""")

_CREATE = statement(f"""
INSERT INTO account_info (account_name, ident, groups, eid, contra_account_id, balance_micros,
    credit_micros, status, limited, seq, head_hash, create_time, moved_time, open_day)
SELECT given.name, given.ident, given.groups, given.eid, p.account_id, 0,
    given.credit, {
    literal(ACCOUNT.initial)
}, given.limited, 0, ''::bytea, shoudan_now(), shoudan_now(),
    (SELECT d.day + 1 FROM ledger_day d ORDER BY d.day DESC LIMIT 1)
FROM {
    unnest(**_KEYS, name="text", credit="bigint", limited="boolean")
} JOIN account_info p ON p.ident = given.ident AND p.groups = '{PLATFORM}' AND p.eid = given.groups
WHERE NOT EXISTS (SELECT 1 FROM account_info a
    WHERE a.ident = given.ident AND a.groups = given.groups AND a.eid = given.eid)
ON CONFLICT DO NOTHING RETURNING ident, groups, eid
""")

_UPDATE = statement(f"""
UPDATE account_info a SET account_name = coalesce(given.name, a.account_name),
    credit_micros = coalesce(given.credit_micros, a.credit_micros), status = coalesce(given.status, a.status)
FROM {unnest(account_id="bigint", name="text", credit_micros="bigint", status="smallint")}
WHERE a.account_id = given.account_id
""")

_LIST_WHERE: Final = """
WHERE a.account_id > :after AND a.account_id <= :reached
    AND (:ident = '' OR a.ident = :ident) AND (:eid = '' OR a.eid = :eid)
    AND starts_with(a.groups, :groups_prefix) AND strpos(a.account_name, :name_contains) > 0
    AND (CAST(:status AS smallint) IS NULL OR a.status = :status)
"""
_EDGES: Final = {
    walk: pages.rising_edge("account_info", "account_id", walk=walk)
    for walk in (pages.WALK_MAX, pages.NUMBERED_MAX)
}
_LIST = statement(f"""
SELECT {_COLUMNS_SHOWN} FROM account_info a {_LIST_WHERE}
ORDER BY a.account_id LIMIT :most OFFSET :offset
""")
_COUNT = statement(f"SELECT count(1) FROM account_info a {_LIST_WHERE}")

# Accounts as their rows stand, platform accounts with the nothing they store: for the proof of the ledger.
_HEADS = statement("""
SELECT a.account_id, coalesce(a.contra_account_id, 0), a.seq, a.balance_micros, a.head_hash,
    a.ident, a.groups, a.eid
FROM account_info a WHERE (:ident = '' OR a.ident = :ident)
    AND a.account_id > :after AND a.account_id <= :last ORDER BY a.account_id LIMIT :most
""")
_SEQS_BY_ID = statement("""
SELECT a.account_id, a.seq FROM account_info a WHERE a.account_id = ANY(CAST(:ids AS bigint[]))
""")

_ALERTS = statement("""
SELECT account_id, threshold_micros, hysteresis_micros, low FROM account_alert
WHERE account_id = ANY(CAST(:account_ids AS bigint[])) ORDER BY account_id, threshold_micros
""")
_MARK_ALERTS = statement(f"""
UPDATE account_alert t SET low = given.low, crossed_seq = given.seq, crossed_time = shoudan_now()
FROM {unnest(**types(ACCOUNT_ALERT, "account_id", "threshold_micros", "low"), seq="bigint")}
WHERE t.account_id = given.account_id AND t.threshold_micros = given.threshold_micros
""")
_SET_ALERT = statement("""
INSERT INTO account_alert (account_id, threshold_micros, hysteresis_micros, low, crossed_seq, crossed_time)
VALUES (:account_id, :threshold_micros, :hysteresis_micros, :low, :seq, shoudan_now())
ON CONFLICT (account_id, threshold_micros)
    DO UPDATE SET hysteresis_micros = excluded.hysteresis_micros
""")
_REMOVE_ALERT = statement("""
DELETE FROM account_alert WHERE account_id = :account_id AND threshold_micros = :threshold_micros
""")
_WATCHED = statement("""
SELECT t.account_id, a.ident, a.groups, a.eid, t.threshold_micros, t.hysteresis_micros, t.low,
    t.crossed_seq, t.crossed_time, a.balance_micros, a.credit_micros
FROM (
    SELECT account_id, threshold_micros, hysteresis_micros, low, crossed_seq, crossed_time
    FROM account_alert
    WHERE (account_id, threshold_micros)
        > (CAST(:account_id AS bigint), CAST(:threshold_micros AS bigint))
    ORDER BY account_id, threshold_micros LIMIT :most
) t CROSS JOIN LATERAL (
    SELECT ident, groups, eid, balance_micros, credit_micros FROM account_info
    WHERE account_id = t.account_id OFFSET 0
) a ORDER BY t.account_id, t.threshold_micros
""")
# By account_record_seq. Of more records than are read the window is as long as those are.
_SPENT = statement("""
SELECT coalesce(-sum(r.amount_micros) FILTER (WHERE r.amount_micros < 0), 0)::bigint,
    CASE WHEN bool_or(r.seq = CAST(:above AS bigint) + 1) THEN
        greatest(1, ceil(extract(epoch FROM shoudan_now() - min(r.create_time)))::integer)
    ELSE CAST(:window_s AS integer) END
FROM account_record r WHERE r.account_id = :account_id AND r.seq > :above
    AND r.create_time > shoudan_now() - make_interval(secs => :window_s)
""")
_SET_WATCHED = statement("""
UPDATE account_info SET watched = EXISTS (
    SELECT 1 FROM account_alert t WHERE t.account_id = account_info.account_id)
WHERE account_id = :account_id
""")


@dataclass(frozen=True, slots=True)
class Watched:
    """A threshold with its account as it is now."""

    account_id: int
    ident: str
    groups: str
    eid: str
    threshold_micros: int
    hysteresis_micros: int
    low: bool
    crossed_seq: int
    crossed_time: datetime | None
    balance_micros: int
    credit_micros: int


_WATCHED_ROWS: Final = Rows(Watched)


@dataclass(frozen=True, slots=True)
class Spent:
    """What left an account, without a sign, and within how many seconds."""

    micros: int
    window_s: int


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to make; it starts with nothing in it."""

    ident: str
    groups: str
    eid: str
    name: str
    credit_micros: int
    limited: bool

    @property
    def key(self) -> Key:
        """How its users name it."""
        return self.ident, self.groups, self.eid


@dataclass(frozen=True, slots=True)
class AccountChange:
    """What to write of an account that is there; None stays as it is."""

    account_id: int
    name: str | None = None
    credit_micros: int | None = None
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which accounts to list; empty fields do not filter."""

    ident: str = ""
    groups_prefix: str = ""
    eid: str = ""
    name_contains: str = ""
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Locked:
    """Accounts that stay locked to the end of the transaction, and the time it is, since 1970."""

    accounts: dict[Key, Account]
    now_micros: int


def arrays(keys: Iterable[Key]) -> dict[str, list[str]]:
    """Keys as the binds of a statement."""
    arrays = [list(column) for column in zip(*keys, strict=True)] or [[], [], []]
    return {"ident": arrays[0], "groups": arrays[1], "eid": arrays[2]}


async def lock(db: AsyncConnection, keys: Iterable[Key]) -> dict[Key, Account]:
    """The accounts that exist, locked in id order."""
    return {one.key: one for one in _ACCOUNTS.all(await db.execute(_LOCK, arrays(keys)))}


async def lock_to_post(db: AsyncConnection, keys: set[Key]) -> Locked:
    """The same with what postings need; the time is 0 when no account exists.

    Accounts that were locked here before are found by their ids. When one of them is not what it was (a
    database was put back), all are looked up again; their locks may then be out of turn, for once.
    """
    ids = _ids.setdefault(db.engine, {})
    known = [found for key in keys if (found := ids.get(key))]
    if known and len(known) == len(keys):
        known.sort()
        locked = _read(await db.execute(LOCK_BY_ID, {"ids": known}))
        if locked.accounts.keys() == keys:
            return locked
        ids.clear()
    locked = _read(await db.execute(LOCK_TO_POST, arrays(sorted(keys))))
    if len(ids) + len(keys) > IDS_KEPT:
        ids.clear()
    ids |= {key: one.account_id for key, one in locked.accounts.items()}
    return locked


def _read(found: Any) -> Locked:
    rows = found.all()
    accounts = [Account(*row[1:]) for row in rows]
    by_key = {(one.ident, one.groups, one.eid): one for one in accounts}
    return Locked(by_key, rows[0][0] if rows else 0)


async def by_key(db: AsyncConnection, keys: Iterable[Key]) -> dict[Key, Account]:
    """The accounts that exist, unlocked; platform accounts with their derived balance."""
    return {one.key: one for one in _ACCOUNTS.all(await db.execute(_BY_KEY, arrays(keys)))}


async def create(db: AsyncConnection, accounts: Sequence[NewAccount]) -> set[Key]:
    """Make those that are not there, with the platform accounts they face; the keys of the new ones."""
    pairs = sorted({(a.ident, a.groups) for a in accounts})
    await db.execute(
        _CREATE_PLATFORMS, {"ident": [p[0] for p in pairs], "groups": [p[1] for p in pairs]}
    )
    # Sorted, so that two makers of the same accounts never deadlock.
    ordered = sorted({a.key: a for a in reversed(accounts)}.values(), key=lambda a: a.key)
    binds = columns(ordered, "ident", "groups", "eid", "name", "limited")
    binds["credit"] = [a.credit_micros for a in ordered]
    rows = (await db.execute(_CREATE, binds)).all()
    return {(row[0], row[1], row[2]) for row in rows}


async def update(db: AsyncConnection, changes: Sequence[AccountChange]) -> None:
    """Change what is not None of locked accounts."""
    if changes:
        await db.execute(_UPDATE, columns(changes, "account_id", "name", "credit_micros", "status"))


async def page(db: AsyncConnection, wanted: Filter, asked: Asked) -> Page[Account]:
    """One page by account_id."""
    walk = pages.NUMBERED_MAX if asked.numbered else pages.WALK_MAX
    reached = await pages.rising_end(db, _EDGES[walk], asked.start)
    binds = asdict(wanted) | {"after": asked.start, "reached": reached}
    most = asked.most + 1
    rows = (await db.execute(_LIST, binds | {"offset": asked.offset, "most": most})).all()
    shown = _ACCOUNTS.all(rows[: asked.most])
    full, cut = len(rows) == most, reached != pages.ID_MAX
    token = str(shown[-1].account_id) if full else ""
    if cut and not full and not asked.numbered:
        token = str(reached)
    count = 0
    if asked.counted:
        short = not full and (shown or not asked.offset)
        count = (
            asked.offset + len(shown) if short else (await db.execute(_COUNT, binds)).scalar_one()
        )
    return Page(shown, token, count, cut=cut and not full)


async def heads(
    db: AsyncConnection, *, after: int, last: int, most: int, ident: str = ""
) -> list[Head]:
    """Where the accounts say their chains end, by id, with ids behind `after` and up to `last`."""
    binds = {"ident": ident, "after": after, "last": last, "most": most}
    rows = (await db.execute(_HEADS, binds)).all()
    return [Head(row[0], row[1], row[2], row[3], row[4], owner_digest(*row[5:])) for row in rows]


async def seqs(db: AsyncConnection, ids: Sequence[int]) -> dict[int, int]:
    """How many records the rows of these accounts say there are; without those that do not exist."""
    rows = (await db.execute(_SEQS_BY_ID, {"ids": ids})).all()
    return {row[0]: row[1] for row in rows}


async def alerts(db: AsyncConnection, account_ids: Sequence[int]) -> list[Alert]:
    """The thresholds of these accounts, lowest first."""
    return _ALERT_ROWS.all(await db.execute(_ALERTS, {"account_ids": account_ids}))


async def mark_alerts(db: AsyncConnection, changed: Sequence[Crossing]) -> None:
    """Store how each was crossed last."""
    alerts = [one.alert for one in changed]
    binds = columns(alerts, "account_id", "threshold_micros", "low")
    await db.execute(_MARK_ALERTS, {**binds, "seq": [one.seq for one in changed]})


async def set_alert(db: AsyncConnection, crossing: Crossing) -> None:
    """Add a threshold, or change its hysteresis; the account's row is locked by the caller."""
    alert = crossing.alert
    await db.execute(_SET_ALERT, {**asdict(alert), "seq": crossing.seq})
    await db.execute(_SET_WATCHED, {"account_id": alert.account_id})


async def watched(db: AsyncConnection, after: tuple[int, int], most: int) -> list[Watched]:
    """Thresholds behind one, by account and threshold."""
    binds = {"account_id": after[0], "threshold_micros": after[1], "most": most}
    return _WATCHED_ROWS.all(await db.execute(_WATCHED, binds))


async def spent(db: AsyncConnection, account: Account, window_s: int, most: int) -> Spent:
    """What left an account within `window_s`, of its last records at most."""
    binds = {"account_id": account.account_id, "above": account.seq - most, "window_s": window_s}
    return Spent(*(await db.execute(_SPENT, binds)).one())


async def remove_alert(db: AsyncConnection, account_id: int, threshold_micros: int) -> None:
    """Remove a threshold; removing one that is not there changes nothing."""
    binds = {"account_id": account_id, "threshold_micros": threshold_micros}
    await db.execute(_REMOVE_ALERT, binds)
    await db.execute(_SET_WATCHED, {"account_id": account_id})
