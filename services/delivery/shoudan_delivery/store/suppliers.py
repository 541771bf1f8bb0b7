"""Statements on supplier channels, their error codes, incidents, and pages of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_delivery.states import SUPPLIER, DealCode, SupplierEvent, SupplierState
from shoudan_delivery.store.rows import Incident, Supplier
from shoudan_delivery.tables import CHANNEL_ERROR_CODE, CHANNEL_INFO, ORDER_EXP
from shoudan_kit.db import pages
from shoudan_kit.db.columns import Rows, types
from shoudan_kit.db.text_statements import columns, statement, unnest

_PARAMS = msgspec.json.Decoder(dict[str, str])
_json = msgspec.json.Encoder().encode

BALANCE_LOW: Final = "balance: too little of our money is left"

# Changes of the operators, of the configuration and of breakers all raise this pair.
_VERSION = statement("""
SELECT count(*) AS rows, max(last_update_time) AS newest,
    count(*) FILTER (WHERE tripped_until > shoudan_now()) AS tripped FROM vds_channel_info
""")
_LIST = statement("""
SELECT id, channel_no, service_class, protocol, request_url, notify_url, query_url,
    request_replenish_time, first_query_time, query_replenish_time, status, can_query, idempotent,
    concurrency_max, timeout_ms, secret_name, queue_name, ext_params,
    notify_networks, notify_without_token, delivers_cards, state, state_reason,
    template, balance_low, balance_micros,
    coalesce(tripped_until > shoudan_now(), false) AS tripped
FROM vds_channel_info ORDER BY channel_no, service_class
""")
_CODES = statement("""
SELECT channel_no, service_class, error_code, deal_code, error_code_desc FROM vds_channel_error_code
""")
_KEY = types(CHANNEL_INFO, "channel_no", "service_class")
_CONFIGURED = types(
    CHANNEL_INFO,
    *("protocol", "request_url", "notify_url", "query_url", "request_replenish_time"),
    *("first_query_time", "query_replenish_time", "status", "can_query", "idempotent"),
    *("concurrency_max", "timeout_ms", "secret_name", "queue_name", "ext_params"),
    *("notify_networks", "notify_without_token", "delivers_cards", "template"),
)
_COLUMNS = ", ".join(_CONFIGURED)
_UPSERT = statement(f"""
INSERT INTO vds_channel_info (id, channel_no, service_class, {_COLUMNS}, state,
    state_reason, create_time, last_update_time)
SELECT id, channel_no, service_class, {_COLUMNS}, {SUPPLIER.initial}, '', shoudan_now(), clock_timestamp()
FROM {unnest(id="bigint", **_KEY, **_CONFIGURED)}
ON CONFLICT (channel_no, service_class) DO UPDATE SET ({_COLUMNS}, last_update_time) = ROW(
    {", ".join(f"excluded.{name}" for name in _CONFIGURED)}, excluded.last_update_time)
""")
_CLEAR_CODES = statement(f"""
DELETE FROM vds_channel_error_code USING {unnest(**_KEY)}
WHERE vds_channel_error_code.channel_no = given.channel_no
    AND vds_channel_error_code.service_class = given.service_class
""")
_CODE = types(
    CHANNEL_ERROR_CODE,
    *("id", "channel_no", "service_class", "error_code", "deal_code", "error_code_desc"),
)
_INSERT_CODES = statement(f"""
INSERT INTO vds_channel_error_code ({", ".join(_CODE)}, create_time)
SELECT {", ".join(_CODE)}, shoudan_now() FROM {unnest(**_CODE)}
""")
_SET_STATE = statement("""
UPDATE vds_channel_info SET state = CAST(:state AS smallint), state_reason = :reason,
    tripped_until = NULL, last_update_time = clock_timestamp()
WHERE channel_no = :channel_no AND (service_class = :service_class OR :service_class = 0)
RETURNING service_class
""")
# An operator's word stands above the breaker's: only an open or tripped channel is moved by it.
_TRIP = statement(f"""
UPDATE vds_channel_info SET state = {SUPPLIER.target(SupplierEvent.TRIPPED)}, state_reason = :reason,
    last_update_time = clock_timestamp(),
    tripped_until = shoudan_now() + make_interval(secs => :pause_s), probe_until = NULL
WHERE channel_no = :channel_no AND service_class = :service_class
    AND {SUPPLIER.where(SupplierEvent.TRIPPED, "state")}
RETURNING id
""")
_CLOSE = statement(f"""
UPDATE vds_channel_info SET state = {SUPPLIER.target(SupplierEvent.CLOSED)}, state_reason = '',
    tripped_until = NULL, probe_until = NULL,
    last_update_time = clock_timestamp()
WHERE channel_no = :channel_no AND service_class = :service_class
    AND {SUPPLIER.where(SupplierEvent.CLOSED, "state")}
RETURNING id
""")
# Of all replicas one tries a channel that has rested; when it dies, another after the claim's end.
_CLAIM_PROBE = statement(f"""
UPDATE vds_channel_info SET probe_until = shoudan_now() + make_interval(secs => :probe_s)
WHERE channel_no = :channel_no AND service_class = :service_class
    AND {SUPPLIER.where(SupplierEvent.CLOSED, "state")} AND tripped_until <= shoudan_now()
    AND (probe_until IS NULL OR probe_until <= shoudan_now())
RETURNING id
""")
_CLAIM_BALANCE = statement("""
UPDATE vds_channel_info SET balance_ask_time = shoudan_now() + make_interval(secs => :every_s)
WHERE channel_no = :channel_no AND service_class = :service_class
    AND (balance_ask_time IS NULL OR balance_ask_time <= shoudan_now())
RETURNING id
""")
# Begun as if it failed, so that a process that dies with it delays the next as well.
_CLAIM_PRICES = statement("""
UPDATE vds_channel_info SET price_fails = least(price_fails + 1, CAST(:doublings AS integer)),
    price_ask_time = shoudan_now() + make_interval(secs => :every_s * power(2, price_fails))
WHERE channel_no = :channel_no AND service_class = :service_class
    AND (price_ask_time IS NULL OR price_ask_time <= shoudan_now())
RETURNING shoudan_now()
""")
_NOTE_PRICES = statement("""
UPDATE vds_channel_info SET price_fails = 0,
    price_ask_time = shoudan_now() + make_interval(secs => :every_s)
WHERE channel_no = :channel_no AND service_class = :service_class
""")
# Between the two amounts it stays as it is, so that it does not turn with every order.
_NOTE_BALANCE = statement("""
WITH before AS (
    SELECT id, balance_low, CASE WHEN CAST(:left AS bigint) < CAST(:low AS bigint) THEN true
        WHEN CAST(:left AS bigint) >= CAST(:enough AS bigint) THEN false ELSE balance_low END AS now_low
    FROM vds_channel_info WHERE channel_no = :channel_no AND service_class = :service_class FOR UPDATE)
UPDATE vds_channel_info SET balance_micros = :left, balance_low = before.now_low,
    last_update_time = clock_timestamp()
FROM before WHERE vds_channel_info.id = before.id
RETURNING before.balance_low AS was_low, before.now_low
""")
_UNWATCH = statement(f"""
UPDATE vds_channel_info SET balance_low = false, balance_micros = NULL, last_update_time = clock_timestamp()
FROM {unnest(**_KEY)}
WHERE vds_channel_info.channel_no = given.channel_no
    AND vds_channel_info.service_class = given.service_class AND balance_micros IS NOT NULL
""")

_INCIDENT = Rows(Incident)
_GIVEN = types(ORDER_EXP, *(name for name in _INCIDENT.names if name != "create_time"))
_INSERT_INCIDENTS = statement(f"""
INSERT INTO vds_order_exp ({", ".join(_GIVEN)}, create_time, local_ip)
SELECT {", ".join(_GIVEN)}, shoudan_now(), CAST(:local_ip AS text) FROM {unnest(**_GIVEN)}
""")
_SELECT_INCIDENT: Final = f"SELECT {_INCIDENT.of()} FROM vds_order_exp"
_INCIDENTS_EDGE = pages.edge("vds_order_exp", "id")
_LIST_INCIDENTS = statement(f"""
{_SELECT_INCIDENT} WHERE id < :before AND id >= :since AND (:channel_no = '' OR channel_no = :channel_no)
ORDER BY id DESC LIMIT :most
""")
# Few rows of the index on coop_order_id, then sorted.
_INCIDENTS_OF = statement(f"""
{_SELECT_INCIDENT} WHERE coop_order_id = :coop_order_id AND id + 0 < :before
    AND (:channel_no = '' OR channel_no = :channel_no)
ORDER BY id + 0 DESC LIMIT :most
""")
# Numbers carry their time, so a span of time is a span of the primary key.
_WANTED: Final = """order_no < :before AND order_no >= :since
    AND (:channel_no = '' OR channel_no = :channel_no)
    AND (:all_statuses OR status = ANY(CAST(:statuses AS smallint[])))"""
# Few rows each, found by the index of what is asked for alone, then sorted.
_FEW: Final = f"""AND {_WANTED.replace("order_no", "order_no + 0")}
    AND (:order_id = '' OR order_id = :order_id)
    AND (conflict OR NOT CAST(:conflict AS boolean)) ORDER BY order_no + 0 DESC LIMIT :most"""
_DELIVERIES_OF = statement(f"SELECT order_no FROM vds_order_info WHERE order_id = :order_id {_FEW}")
_DELIVERIES_UP = statement(
    "SELECT order_no FROM vds_order_info WHERE up_order_no = :up_order_no"
    f" AND up_order_no <> '' {_FEW}"
)
# What is contradicted is few, and in an index of its own.
_CONFLICTS_EDGE = pages.edge("vds_order_info", "order_no", "conflict")
_LIST_CONFLICTS = statement(f"""
SELECT order_no FROM vds_order_info WHERE conflict AND {_WANTED} ORDER BY order_no DESC LIMIT :most
""")
_DELIVERIES_EDGE = pages.edge("vds_order_info", "order_no")
_LIST_DELIVERIES = statement(f"""
SELECT order_no FROM vds_order_info WHERE {_WANTED} ORDER BY order_no DESC LIMIT :most
""")


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries to list; what is empty does not filter."""

    channel_no: str = ""
    order_id: str = ""
    up_order_no: str = ""
    statuses: Sequence[int] = ()
    conflict: bool = False
    since: int = 0


@dataclass(frozen=True, slots=True)
class Version:
    """Differs whenever a channel was changed, or a tripped one may be tried again."""

    rows: int
    newest: datetime | None
    tripped: int


async def version(db: AsyncConnection) -> Version:
    """Which version of the channels the database holds."""
    return Version(*(await db.execute(_VERSION)).one())


async def load(db: AsyncConnection) -> list[Supplier]:
    """Every channel with its error codes, without secrets."""
    codes: dict[tuple[str, int], dict[str, DealCode]] = {}
    descs: dict[tuple[str, int], dict[str, str]] = {}
    for row in await db.execute(_CODES):
        key = (row.channel_no, row.service_class)
        codes.setdefault(key, {})[row.error_code] = DealCode(row.deal_code)
        descs.setdefault(key, {})[row.error_code] = row.error_code_desc
    suppliers = [_supplier(row) for row in await db.execute(_LIST)]
    return [
        replace(one, deal_codes=codes.get(one.key, {}), code_descs=descs.get(one.key, {}))
        for one in suppliers
    ]


def _supplier(row: Any) -> Supplier:
    return Supplier(
        id=row.id,
        channel_no=row.channel_no,
        service_class=row.service_class,
        protocol=row.protocol,
        request_url=row.request_url,
        notify_url=row.notify_url,
        query_url=row.query_url,
        request_replenish_time_s=row.request_replenish_time,
        first_query_time_s=row.first_query_time,
        query_replenish_time_s=row.query_replenish_time,
        enabled=row.status == 0,
        can_query=row.can_query == 0,
        idempotent=row.idempotent,
        concurrency_max=row.concurrency_max,
        timeout_s=row.timeout_ms / 1000,
        secret_name=row.secret_name,
        queue_name=row.queue_name,
        ext_params=_PARAMS.decode(row.ext_params),
        notify_networks=tuple(row.notify_networks.split(",")) if row.notify_networks else (),
        notify_without_token=row.notify_without_token,
        delivers_cards=row.delivers_cards,
        template=row.template,
        balance_low=row.balance_low,
        balance_micros=row.balance_micros,
        state=_state(row),
        state_reason=BALANCE_LOW if _state(row) != row.state else row.state_reason,
        tripped=row.tripped,
    )


def _state(row: Any) -> SupplierState:
    """An open channel is held while the supplier has too little of our money; other states stand above."""
    state = SupplierState(row.state)
    return SupplierState.HELD if row.balance_low and state is SupplierState.OPEN else state


async def upsert(
    db: AsyncConnection, suppliers: Sequence[Supplier], code_ids: Sequence[int]
) -> None:
    """Make these channels exactly so, states apart. `code_ids`: one fresh id per error code."""
    await db.execute(
        _UPSERT,
        {
            **columns(suppliers, "id", "channel_no", "service_class", "protocol", "request_url"),
            **columns(suppliers, "notify_url", "query_url", "idempotent", "concurrency_max"),
            **columns(suppliers, "secret_name", "queue_name", "notify_without_token"),
            **columns(suppliers, "delivers_cards", "template"),
            "notify_networks": [",".join(s.notify_networks) for s in suppliers],
            "request_replenish_time": [s.request_replenish_time_s for s in suppliers],
            "first_query_time": [s.first_query_time_s for s in suppliers],
            "query_replenish_time": [s.query_replenish_time_s for s in suppliers],
            "status": [0 if s.enabled else 1 for s in suppliers],
            "can_query": [0 if s.can_query else 1 for s in suppliers],
            "ext_params": [_json(dict(sorted(s.ext_params.items()))).decode() for s in suppliers],
            "timeout_ms": [round(s.timeout_s * 1000) for s in suppliers],
        },
    )
    await db.execute(_CLEAR_CODES, columns(suppliers, "channel_no", "service_class"))
    codes = [(s, code, deal) for s in suppliers for code, deal in s.deal_codes.items()]
    if not codes:
        return
    await db.execute(
        _INSERT_CODES,
        {
            "id": list(code_ids),
            "channel_no": [s.channel_no for s, _, _ in codes],
            "service_class": [s.service_class for s, _, _ in codes],
            "error_code": [code for _, code, _ in codes],
            "deal_code": [deal for _, _, deal in codes],
            "error_code_desc": [s.code_descs.get(code, "") for s, code, _ in codes],
        },
    )


async def set_state(
    db: AsyncConnection, channel_no: str, service_class: int, state: SupplierState, reason: str
) -> list[int]:
    """Set an operator's state; the service classes it was set for."""
    rows = await db.execute(
        _SET_STATE,
        {
            "channel_no": channel_no,
            "service_class": service_class,
            "state": state,
            "reason": reason,
        },
    )
    return list(rows.scalars())


async def trip(db: AsyncConnection, key: tuple[str, int], reason: str, pause_s: float) -> bool:
    """Let a channel rest; False when an operator's state stands above."""
    binds = {"channel_no": key[0], "service_class": key[1], "reason": reason, "pause_s": pause_s}
    return (await db.execute(_TRIP, binds)).first() is not None


async def close(db: AsyncConnection, key: tuple[str, int]) -> bool:
    """Open a tripped channel again; False when it was not tripped."""
    binds = {"channel_no": key[0], "service_class": key[1]}
    return (await db.execute(_CLOSE, binds)).first() is not None


async def claim_probe(db: AsyncConnection, key: tuple[str, int], probe_s: float) -> bool:
    """Be the one process that tries a rested channel during `probe_s`; False when another is."""
    binds = {"channel_no": key[0], "service_class": key[1], "probe_s": probe_s}
    return (await db.execute(_CLAIM_PROBE, binds)).first() is not None


async def claim_balance(db: AsyncConnection, key: tuple[str, int], every_s: float) -> bool:
    """Be the one process that asks for a balance now; False when it is not time."""
    binds = {"channel_no": key[0], "service_class": key[1], "every_s": every_s}
    return (await db.execute(_CLAIM_BALANCE, binds)).first() is not None


async def claim_prices(
    db: AsyncConnection, key: tuple[str, int], every_s: float, doublings: int
) -> datetime | None:
    """Be the one process that asks for prices now, and when that is; None when it is not time."""
    binds = {
        "channel_no": key[0],
        "service_class": key[1],
        "every_s": every_s,
        "doublings": doublings,
    }
    found: datetime | None = (await db.execute(_CLAIM_PRICES, binds)).scalar()
    return found


async def note_prices(db: AsyncConnection, key: tuple[str, int], every_s: float) -> None:
    """The prices were read: the next look is at its usual time."""
    binds = {"channel_no": key[0], "service_class": key[1], "every_s": every_s}
    await db.execute(_NOTE_PRICES, binds)


async def note_balance(
    db: AsyncConnection, key: tuple[str, int], left: int, low: int, enough: int
) -> bool | None:
    """Store a balance; whether it is too low now, None when that has not turned."""
    binds = {"channel_no": key[0], "service_class": key[1]}
    binds |= {"left": left, "low": low, "enough": enough}
    row = (await db.execute(_NOTE_BALANCE, binds)).first()
    return None if row is None or row.was_low == row.now_low else bool(row.now_low)


async def unwatch(db: AsyncConnection, suppliers: Sequence[Supplier]) -> None:
    """These are no longer asked for a balance, so none holds them."""
    await db.execute(_UNWATCH, columns(suppliers, "channel_no", "service_class"))


async def insert_incidents(
    db: AsyncConnection, incidents: Sequence[Incident], local_ip: str
) -> None:
    """Write what could not be used, texts cut to their documented lengths."""
    await db.execute(
        _INSERT_INCIDENTS,
        {
            **columns(incidents, *_GIVEN),
            "error_msg": [one.error_msg[:256] for one in incidents],
            "ext_params": [_storable(one.ext_params)[:4000] for one in incidents],
            "local_ip": local_ip,
        },
    )


async def list_incidents(
    db: AsyncConnection, *, channel_no: str, coop_order_id: str, before: int, most: int
) -> tuple[list[Incident], str]:
    """One page, newest first, of numbers below `before`, and the token of the next."""
    binds = {"channel_no": channel_no, "before": before, "most": most}
    if coop_order_id:
        rows = await db.execute(_INCIDENTS_OF, {**binds, "coop_order_id": coop_order_id})
        reached = 0
    else:
        reached = await pages.walk_end(db, _INCIDENTS_EDGE, before, 0)
        rows = await db.execute(_LIST_INCIDENTS, {**binds, "since": reached})
    found = _INCIDENT.all(rows)
    return found, pages.next_token([one.id for one in found], most, reached, 0)


async def list_deliveries(
    db: AsyncConnection, wanted: DeliveryFilter, *, before: int, most: int
) -> tuple[list[int], str]:
    """Numbers of one page, newest first, below `before`, and the token of the next."""
    reached = since = wanted.since
    binds: dict[str, Any] = {
        "channel_no": wanted.channel_no,
        "all_statuses": not wanted.statuses,
        "statuses": list(wanted.statuses),
        "before": before,
        "most": most,
    }
    if wanted.up_order_no or wanted.order_id:
        few = _DELIVERIES_UP if wanted.up_order_no else _DELIVERIES_OF
        binds |= {"order_id": wanted.order_id, "conflict": wanted.conflict}
        binds |= {"up_order_no": wanted.up_order_no} if wanted.up_order_no else {}
        rows = await db.execute(few, {**binds, "since": since})
    else:
        edge, listed = (
            (_CONFLICTS_EDGE, _LIST_CONFLICTS)
            if wanted.conflict
            else (_DELIVERIES_EDGE, _LIST_DELIVERIES)
        )
        reached = await pages.walk_end(db, edge, before, since)
        rows = await db.execute(listed, {**binds, "since": reached})
    found = list(rows.scalars())
    return found, pages.next_token(found, most, reached, since)


def _storable(raw: str) -> str:
    """PostgreSQL's text cannot hold NUL."""
    return raw.replace("\0", "\\0")
