"""Statements on crossings of thresholds and on who was notified of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_finance.tables.alerts import EDGE
from shoudan_kit.db.columns import Rows, types
from shoudan_kit.db.text_statements import columns, statement, unnest

EDGES_MAX: Final = 100  # of one threshold, looked at in one step


@dataclass(frozen=True, slots=True)
class Edge:
    """A balance that fell below a threshold, or has recovered."""

    account_id: int
    threshold_micros: int
    seq: int
    ident: str
    groups: str
    eid: str
    low: bool
    balance_micros: int
    edge_time: datetime

    @property
    def key(self) -> str:
        """By which it is known, however often it is sent."""
        return f"alert_{self.account_id}_{self.threshold_micros}_{self.seq}"


@dataclass(frozen=True, slots=True)
class RouteKey:
    """A threshold and a target that is notified of its crossings."""

    account_id: int
    threshold_micros: int
    target: str


@dataclass(frozen=True, slots=True)
class Route(RouteKey):
    """What it was notified of."""

    notified_seq: int
    notified_low: bool
    tries: int
    answer: str
    low_time: datetime | None
    notify_time: datetime | None


@dataclass(frozen=True, slots=True)
class Locked:
    """A route, held to the end of the transaction, what it was not notified of, and the time."""

    route: Route
    edges: Sequence[Edge]
    now: datetime


_EDGE: Final = Rows(Edge)
_ROUTE: Final = Rows(Route)
_OF: Final = """account_id = CAST(:account_id AS bigint)
    AND threshold_micros = CAST(:threshold_micros AS bigint)"""

_NOTE = statement(f"""
INSERT INTO balance_edge ({_EDGE.of()}, create_time)
SELECT {_EDGE.of("given")}, shoudan_now() FROM {unnest(**types(EDGE, *_EDGE.names))}
ON CONFLICT DO NOTHING RETURNING account_id, threshold_micros, seq
""")
# One that is there is locked: its task sees the new crossing, or has ended and another one is made.
_ADD = statement("""
INSERT INTO alert_route (account_id, threshold_micros, target, notified_seq, notified_low, tries, answer,
    create_time)
VALUES (:account_id, :threshold_micros, :target, -1, false, 0, '', shoudan_now())
ON CONFLICT (account_id, threshold_micros, target) DO UPDATE SET tries = alert_route.tries
""")
_LOCK = statement(f"""
SELECT {_ROUTE.of()}, shoudan_now() AS now FROM alert_route
WHERE {_OF} AND target = :target FOR UPDATE
""")
_PENDING = statement(f"""
SELECT {_EDGE.of()} FROM balance_edge WHERE {_OF} AND seq > CAST(:notified_seq AS bigint)
ORDER BY seq LIMIT :most
""")
_PASSED = statement(f"""
UPDATE alert_route SET notified_seq = :seq
WHERE {_OF} AND target = :target AND notified_seq < CAST(:seq AS bigint)
""")
_NOTIFIED = statement(f"""
UPDATE alert_route SET notified_seq = :seq, notified_low = :low, tries = 0, answer = :answer,
    notify_time = shoudan_now(), low_time = CASE WHEN :low THEN shoudan_now() ELSE low_time END
WHERE {_OF} AND target = :target AND notified_seq < CAST(:seq AS bigint)
""")
_REFUSED = statement(f"""
UPDATE alert_route SET tries = tries + 1, answer = :answer WHERE {_OF} AND target = :target
""")
_PAGE = statement(f"""
SELECT {_ROUTE.of()} FROM alert_route
WHERE (account_id, threshold_micros, target)
    > (CAST(:account_id AS bigint), CAST(:threshold_micros AS bigint), :target)
ORDER BY account_id, threshold_micros, target LIMIT :most
""")


async def note(db: AsyncConnection, edges: Sequence[Edge]) -> list[Edge]:
    """Store crossings; those that were not here."""
    new = {tuple(row) for row in await db.execute(_NOTE, columns(edges, *_EDGE.names))}
    return [one for one in edges if (one.account_id, one.threshold_micros, one.seq) in new]


async def add(db: AsyncConnection, key: RouteKey) -> None:
    """Have a route, locked to the end of the transaction."""
    await db.execute(_ADD, _binds(key))


async def lock(db: AsyncConnection, key: RouteKey) -> Locked:
    """A route that is there, with what it was not notified of, oldest first."""
    row = (await db.execute(_LOCK, _binds(key))).one()
    route = Route(*row[:-1])
    binds = {**_binds(key), "notified_seq": route.notified_seq, "most": EDGES_MAX}
    del binds["target"]
    return Locked(route, _EDGE.all(await db.execute(_PENDING, binds)), row[-1])


async def passed(db: AsyncConnection, key: RouteKey, seq: int) -> None:
    """Crossings up to this one are no news."""
    await db.execute(_PASSED, {**_binds(key), "seq": seq})


async def notified(db: AsyncConnection, key: RouteKey, edge: Edge, answer: str) -> None:
    """A target has a crossing, or it was given up: `answer` says why."""
    binds = {**_binds(key), "seq": edge.seq, "low": edge.low, "answer": answer}
    await db.execute(_NOTIFIED, binds)


async def refused(db: AsyncConnection, key: RouteKey, answer: str) -> None:
    """An attempt was not acknowledged."""
    await db.execute(_REFUSED, {**_binds(key), "answer": answer})


async def page(db: AsyncConnection, after: RouteKey, most: int) -> list[Route]:
    """Routes behind one, by account, threshold and target."""
    return _ROUTE.all(await db.execute(_PAGE, {**_binds(after), "most": most}))


def _binds(key: RouteKey) -> dict[str, object]:
    return {
        "account_id": key.account_id,
        "threshold_micros": key.threshold_micros,
        "target": key.target,
    }
