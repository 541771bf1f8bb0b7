"""Statements on what endpoints of channels are sent, and on how they do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows, assigned, names_of, types
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_order.endpoint_states import EndpointState
from shoudan_order.tables import METADATA

COUNTED_MAX: Final = 1_000
FORGET_MAX: Final = 1_000


class NewNotify(msgspec.Struct, frozen=True):
    """What an endpoint is owed, as it is attempted first."""

    notify_id: int
    endpoint_no: str
    channel_no: str
    event_key: str
    event: str
    body: bytes
    order_id: int
    tries_max: int


class Owed(msgspec.Struct, frozen=True):
    """A notify of an endpoint, and whether the endpoint is sent anything now."""

    notify_id: int
    endpoint_no: str
    channel_no: str
    event_key: str
    event: str
    body: bytes
    order_id: int
    tries: int
    tries_max: int
    over: bool  # acknowledged or given up
    state: EndpointState

    @property
    def key(self) -> tuple[str, str]:
        """What it is known by."""
        return self.endpoint_no, self.event_key


class Tried(msgspec.Struct, frozen=True):
    """What came of an attempt, or that none is made; `was` counts the attempts before it."""

    notify_id: int
    acknowledged: bool
    counted: bool  # it was made
    given_up: bool
    http_status: int
    answer: str
    was: int


class Listed(msgspec.Struct, frozen=True):
    """A notify as it is shown."""

    notify_id: int
    event_key: str
    event: str
    tries: int
    tries_max: int
    http_status: int
    answer: str
    given_up: bool
    create_time: datetime
    end_time: datetime | None


class Health(msgspec.Struct, frozen=True):
    """How an endpoint does."""

    endpoint_no: str
    channel_no: str
    state: EndpointState = EndpointState.ACTIVE
    reason: str = ""
    change_time: datetime | None = None
    fails: int = 0
    fail_time: datetime | None = None
    recent: str = ""
    answer: str = ""
    answer_time: datetime | None = None
    sent: int = 0
    acknowledged: int = 0
    alert_level: int = 0
    alert_time: datetime | None = None


_NOTIFY: Final = METADATA.tables["oms_endpoint_notify"]
_HEALTH: Final = METADATA.tables["oms_endpoint_health"]
_OWED: Final = Rows(Owed)
_LISTED: Final = Rows(Listed)
_HEALTHS: Final = Rows(Health)
_NEW_TYPES: Final = types(_NOTIFY, *names_of(NewNotify))
_HEALTH_NAMES: Final = names_of(Health)

_INSERT = statement(f"""
INSERT INTO oms_endpoint_notify ({", ".join(_NEW_TYPES)})
SELECT {", ".join(_NEW_TYPES)} FROM {unnest(**_NEW_TYPES)} ORDER BY endpoint_no, event_key
ON CONFLICT (endpoint_no, event_key) DO NOTHING
""")
# By the unique (endpoint_no, event_key).
_READ = statement(f"""
SELECT n.notify_id, n.endpoint_no, n.channel_no, n.event_key, n.event, n.body, n.order_id, n.tries,
    n.tries_max, n.given_up OR n.end_time IS NOT NULL AS over,
    coalesce(h.state, {EndpointState.ACTIVE:d}) AS state
FROM {unnest(endpoint_no="text", event_key="text")}
JOIN oms_endpoint_notify n ON n.endpoint_no = given.endpoint_no AND n.event_key = given.event_key
LEFT JOIN oms_endpoint_health h ON h.endpoint_no = n.endpoint_no
""")
# An attempt counts once, however often it is written: after the first time the count is another one.
_RECORD = statement(f"""
UPDATE oms_endpoint_notify n SET tries = n.tries + CASE WHEN given.counted THEN 1 ELSE 0 END,
    http_status = given.http_status, answer = given.answer, given_up = given.given_up,
    end_time = CASE WHEN given.acknowledged THEN shoudan_now() END
FROM {
    unnest(
        notify_id="bigint",
        acknowledged="boolean",
        counted="boolean",
        given_up="boolean",
        http_status="integer",
        answer="text",
        was="integer",
    )
}
WHERE n.notify_id = given.notify_id AND n.end_time IS NULL AND NOT n.given_up AND n.tries = given.was
RETURNING n.notify_id
""")
_BEGIN_HEALTH = statement(f"""
INSERT INTO oms_endpoint_health (endpoint_no, channel_no, sent, acknowledged)
SELECT endpoint_no, channel_no, 0, 0 FROM {unnest(endpoint_no="text", channel_no="text")}
ORDER BY endpoint_no ON CONFLICT (endpoint_no) DO NOTHING
""")
_LOCK_HEALTH = statement(f"""
SELECT {_HEALTHS.of()} FROM oms_endpoint_health
WHERE endpoint_no = ANY(CAST(:endpoint_nos AS text[])) ORDER BY endpoint_no FOR UPDATE
""")
_HEALTH_OF = statement(f"""
SELECT {_HEALTHS.of()} FROM oms_endpoint_health
WHERE endpoint_no = ANY(CAST(:endpoint_nos AS text[])) ORDER BY endpoint_no
""")
_WRITE_HEALTH = statement(f"""
UPDATE oms_endpoint_health h SET {assigned(_HEALTH_NAMES[2:])}
FROM {unnest(**types(_HEALTH, *_HEALTH_NAMES))} WHERE h.endpoint_no = given.endpoint_no
""")
_LIST = statement(f"""
SELECT {_LISTED.of()} FROM oms_endpoint_notify
WHERE endpoint_no = :endpoint_no AND notify_id < :before ORDER BY notify_id DESC LIMIT :most
""")
_LIST_DEAD = statement(f"""
SELECT {_LISTED.of()} FROM oms_endpoint_notify
WHERE given_up AND endpoint_no = :endpoint_no AND notify_id < :before
ORDER BY notify_id DESC LIMIT :most
""")
_COUNT_DEAD = statement(f"""
SELECT k.endpoint_no, (SELECT count(*) FROM (SELECT FROM oms_endpoint_notify n
    WHERE n.given_up AND n.endpoint_no = k.endpoint_no LIMIT {COUNTED_MAX}) AS a) AS dead
FROM unnest(CAST(:endpoint_nos AS text[])) AS k(endpoint_no)
""")
# Three attempts more; what is not given up is left alone.
_REVIVE: Final = """
UPDATE oms_endpoint_notify SET given_up = false, tries_max = greatest(tries_max, tries + 3)
WHERE given_up AND notify_id IN (SELECT notify_id FROM oms_endpoint_notify
    WHERE given_up AND endpoint_no = :endpoint_no AND {which} ORDER BY notify_id LIMIT :most)
RETURNING event_key, event, body, order_id
"""
_REVIVE_ALL = statement(_REVIVE.format(which="notify_id > 0"))
_REVIVE_SOME = statement(_REVIVE.format(which="notify_id = ANY(CAST(:ids AS bigint[]))"))
_FORGET = statement(f"""
DELETE FROM oms_endpoint_notify WHERE notify_id IN (
    SELECT notify_id FROM oms_endpoint_notify
    WHERE create_time < shoudan_now() - make_interval(days => :keep_days)
    ORDER BY create_time LIMIT {FORGET_MAX})
RETURNING 1
""")


async def begin(db: AsyncConnection, given: Sequence[NewNotify]) -> dict[tuple[str, str], Owed]:
    """Write what is not there yet; all of them as they stand."""
    await db.execute(_INSERT, columns(given, *_NEW_TYPES))
    rows = _OWED.all(await db.execute(_READ, columns(given, "endpoint_no", "event_key")))
    return {row.key: row for row in rows}


async def record(db: AsyncConnection, tried: Sequence[Tried]) -> set[int]:
    """Write what came of attempts; those whose notify was still open."""
    return set((await db.execute(_RECORD, columns(tried, *names_of(Tried)))).scalars())


async def lock_health(db: AsyncConnection, owners: dict[str, str]) -> dict[str, Health]:
    """How endpoints do, locked to the end of the transaction; `owners`: the channel of each."""
    numbers = sorted(owners)
    binds = {"endpoint_no": numbers, "channel_no": [owners[one] for one in numbers]}
    await db.execute(_BEGIN_HEALTH, binds)
    rows = _HEALTHS.all(await db.execute(_LOCK_HEALTH, {"endpoint_nos": numbers}))
    return {row.endpoint_no: row for row in rows}


async def write_health(db: AsyncConnection, healths: Sequence[Health]) -> None:
    """Write how locked endpoints do."""
    if healths:
        await db.execute(_WRITE_HEALTH, columns(healths, *_HEALTH_NAMES))


async def health_of(db: AsyncConnection, numbers: Sequence[str]) -> dict[str, Health]:
    """How endpoints do; none of one that was never sent anything."""
    rows = _HEALTHS.all(await db.execute(_HEALTH_OF, {"endpoint_nos": list(numbers)}))
    return {row.endpoint_no: row for row in rows}


async def dead_counts(db: AsyncConnection, numbers: Sequence[str]) -> dict[str, int]:
    """How much each was not sent, up to COUNTED_MAX."""
    rows = await db.execute(_COUNT_DEAD, {"endpoint_nos": list(numbers)})
    return {row[0]: row[1] for row in rows}


async def notifies(
    db: AsyncConnection, endpoint_no: str, before: int, most: int, *, given_up: bool
) -> list[Listed]:
    """A page of what an endpoint was sent, newest first."""
    binds = {"endpoint_no": endpoint_no, "before": before, "most": most}
    return _LISTED.all(await db.execute(_LIST_DEAD if given_up else _LIST, binds))


async def revive(
    db: AsyncConnection, endpoint_no: str, ids: Sequence[int], most: int
) -> list[tuple[str, str, bytes, int]]:
    """event_key, event, body and order_id of what gets more attempts: of these, or of the oldest."""
    binds = {"endpoint_no": endpoint_no, "most": most}
    rows = (
        await db.execute(_REVIVE_SOME, {**binds, "ids": list(ids)})
        if ids
        else await db.execute(_REVIVE_ALL, binds)
    )
    return [(row[0], row[1], row[2], row[3]) for row in rows]


async def forget(db: AsyncConnection, keep_days: int) -> bool:
    """Delete what is older than so many days; whether there may be more."""
    gone = (await db.execute(_FORGET, {"keep_days": keep_days})).scalars()
    return len(list(gone)) == FORGET_MAX
