"""Statements on deliveries: each takes a batch, whatever its size."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_delivery.states import DELIVERY, PUSH, Event, Source, Status
from shoudan_delivery.store.rows import Delivery, EndedDelivery, Key, NewDelivery, Outcome, Outgoing
from shoudan_delivery.tables import ORDER_INFO, ORDER_NOTIFY
from shoudan_kit.db.columns import Rows, types
from shoudan_kit.db.text_statements import columns, statement, unnest

_encode = msgspec.json.Encoder(order="deterministic").encode  # a message keeps no order of its map

_DELIVERY = Rows(Delivery)
_OUTGOING = Rows(Outgoing)
_SHARED = [name for name in _OUTGOING.names if name in _DELIVERY.names]
_ENDED = Rows(EndedDelivery)
_ROW = ", ".join(name for name in _DELIVERY.names if name not in {"query_count", "archived"})
_QUERY_COUNT = """coalesce((SELECT asked.query_count FROM vds_order_query asked
    WHERE asked.order_no = vds_order_info.order_no), 0) AS query_count, false AS archived"""
# What is not kept of one that has left: its account, and a time-out that is over.
_NOT_KEPT = {
    "account": "'' AS account",
    "flow_timeout": "create_time AS flow_timeout",
    "archived": "true AS archived",
}
_GONE = ", ".join(_NOT_KEPT.get(name, name) for name in _DELIVERY.names)
# Until its rows are deleted a delivery whose key is noted is what they say.
_HAS_LEFT = """NOT EXISTS (SELECT FROM vds_order_info here
    WHERE here.order_no = vds_archived_order.order_no)"""
_CALL = f"""{", ".join(name for name in _OUTGOING.names if name not in {"age_s", "overdue"})},
    CAST(extract(epoch FROM shoudan_now() - coalesce(request_start_time, create_time)) AS float8) AS age_s,
    flow_timeout <= shoudan_now() AS overdue"""
_JUST_ENDED = f"""{", ".join(f"order_info.{name}" for name in _ENDED.names if name != "took_s")},
    CAST(extract(epoch FROM shoudan_now() - order_info.request_start_time) AS float8) AS took_s"""
_KEY = types(ORDER_INFO, "coop_id", "coop_order_id", "service_class")
_NEW = types(
    ORDER_INFO,
    *("order_no", "coop_id", "coop_order_id", "order_id", "channel_no", "service_class"),
    *("carrier_no", "product_face_micros", "product_num", "account", "request_params"),
)
_RESULT = types(
    ORDER_INFO,
    *("order_no", "result_source", "result_code", "result_desc", "result_params"),
    *("up_order_no", "succ_face_micros"),
)
_UNKNOWN = types(ORDER_INFO, "order_no", "result_code", "result_desc")
_PUSH = types(ORDER_NOTIFY, "order_no", "coop_id", "coop_order_id", "notify_content")

# Those whose key is there already, here or among the archived ones, are left out of RETURNING: the caller
# reads them. What is called as soon as this is committed is written as sent: this commit is its intent.
_INSERT = statement(f"""
INSERT INTO vds_order_info ({", ".join(_NEW)}, status, request_count, request_start_time, create_time,
    result_source, result_code, result_desc, result_params, up_order_no, succ_face_micros, last_update_time,
    flow_timeout, conflict)
SELECT {", ".join(_NEW)},
    CASE WHEN sending THEN {DELIVERY.target(Event.SENT)} ELSE {DELIVERY.initial} END,
    CASE WHEN sending THEN 1 ELSE 0 END, CASE WHEN sending THEN shoudan_now() END,
    shoudan_now(), 0, '', '', '', '', 0, shoudan_now(),
    shoudan_now() + make_interval(secs => timeout_s), false
FROM {unnest(**_NEW, timeout_s="float8", sending="boolean")}
WHERE NOT EXISTS (SELECT FROM vds_archived_order gone WHERE gone.coop_id = given.coop_id
    AND gone.coop_order_id = given.coop_order_id AND gone.service_class = given.service_class)
ON CONFLICT (coop_id, coop_order_id, service_class) DO NOTHING
RETURNING order_no, create_time
""")

# By the unique key, one that has left by what stays known of it; keys that are unknown are simply absent.
_BY_KEY = statement(f"""
SELECT {_ROW}, {_QUERY_COUNT} FROM vds_order_info
WHERE (coop_id, coop_order_id, service_class) IN (SELECT coop_id, coop_order_id, service_class
    FROM {unnest(**_KEY)})
UNION ALL
SELECT {_DELIVERY.of("gone")} FROM {unnest(**_KEY)} CROSS JOIN LATERAL (
    SELECT {_GONE} FROM vds_archived_order
    WHERE vds_archived_order.coop_id = given.coop_id
        AND vds_archived_order.coop_order_id = given.coop_order_id
        AND vds_archived_order.service_class = given.service_class AND {_HAS_LEFT} LIMIT 1
) gone
""")
# Of whichever class: the numbers of deliveries and of returns are from one row.
_SUPPLIER_NUMBERS = statement(f"""
SELECT found.coop_id, found.coop_order_id, found.order_no, found.account
FROM {unnest(coop_id="text", coop_order_id="text")} CROSS JOIN LATERAL (
    SELECT d.coop_id, d.coop_order_id, d.order_no, d.account FROM vds_order_info d
    WHERE d.coop_id = given.coop_id AND d.coop_order_id = given.coop_order_id LIMIT 1
) found
UNION ALL
SELECT gone.coop_id, gone.coop_order_id, gone.order_no, ''
FROM {unnest(coop_id="text", coop_order_id="text")} CROSS JOIN LATERAL (
    SELECT coop_id, coop_order_id, order_no FROM vds_archived_order
    WHERE vds_archived_order.coop_id = given.coop_id
        AND vds_archived_order.coop_order_id = given.coop_order_id AND {_HAS_LEFT} LIMIT 1
) gone
""")
_BY_NO = statement(f"""
SELECT {_ROW}, {_QUERY_COUNT} FROM vds_order_info WHERE order_no = ANY(CAST(:order_nos AS bigint[]))
UNION ALL
SELECT {_GONE} FROM vds_archived_order
WHERE order_no = ANY(CAST(:order_nos AS bigint[])) AND {_HAS_LEFT}
""")
_LOOK = statement(f"""
SELECT {_CALL}, status FROM vds_order_info WHERE order_no = ANY(CAST(:order_nos AS bigint[]))
""")

# The intent: committed before the call. One past its flow_timeout is never sent any more, because its
# owner may already have given it up.
_MARK_SENDING = statement(f"""
UPDATE vds_order_info SET status = {DELIVERY.target(Event.SENT)}, request_count = request_count + 1,
    request_start_time = coalesce(request_start_time, shoudan_now()), last_update_time = shoudan_now()
WHERE order_no = ANY(CAST(:order_nos AS bigint[])) AND {DELIVERY.where(Event.SENT)}
    AND flow_timeout > shoudan_now()
RETURNING {_CALL}
""")
_MARK_REPEATED = statement(f"""
UPDATE vds_order_info SET request_count = request_count + 1, last_update_time = shoudan_now()
WHERE order_no = ANY(CAST(:order_nos AS bigint[])) AND {DELIVERY.where(Event.UNKNOWN)}
RETURNING order_no
""")
_OVERDUE = statement(f"""
SELECT order_no FROM vds_order_info WHERE order_no = ANY(CAST(:order_nos AS bigint[]))
    AND {DELIVERY.where(Event.EXPIRED)} AND flow_timeout <= shoudan_now()
""")

# Locked in the order of their number, so that two writers of the same rows wait instead of dead-locking;
# the count asks for all locks before the first row is written.
_END = statement(f"""
WITH locked AS (
    SELECT order_info.order_no FROM vds_order_info order_info
    WHERE order_no = ANY(CAST(:order_no AS bigint[])) ORDER BY order_no FOR NO KEY UPDATE
)
UPDATE vds_order_info order_info SET status = given.new_status,
    {", ".join(f"{name} = given.{name}" for name in _RESULT if name != "order_no")},
    request_finish_time = shoudan_now(), last_update_time = shoudan_now()
FROM {unnest(**_RESULT, new_status="smallint", unsent="boolean")}
WHERE order_info.order_no = given.order_no AND (SELECT count(*) FROM locked) > 0
    AND ({DELIVERY.where(Event.EXPIRED, "order_info.status")}
        OR ({DELIVERY.where(Event.UNKNOWN, "order_info.status")} AND NOT given.unsent))
RETURNING {_JUST_ENDED}
""")

_NOTE_UNKNOWN = statement(f"""
UPDATE vds_order_info order_info SET result_code = given.result_code, result_desc = given.result_desc,
    last_update_time = shoudan_now()
FROM {unnest(**_UNKNOWN)}
WHERE order_info.order_no = given.order_no AND {DELIVERY.where(Event.UNKNOWN, "order_info.status")}
RETURNING {_JUST_ENDED}
""")

# Refused before a byte was sent: as if never begun. Its sender found 20, so no earlier call got
# through either.
_UNSEND = statement(f"""
UPDATE vds_order_info SET status = {DELIVERY.target(Event.NOT_SENT)}, request_start_time = NULL,
    last_update_time = shoudan_now()
WHERE order_no = ANY(CAST(:order_nos AS bigint[])) AND {DELIVERY.where(Event.NOT_SENT)}
""")
# Once: the first contradiction is reported to the owner. Of one that has left, what stays known says so.
_CONFLICT = statement(f"""
WITH archived AS (
    UPDATE vds_archived_order SET conflict = true
    WHERE order_no = ANY(CAST(:order_nos AS bigint[])) AND NOT conflict AND {_HAS_LEFT}
    RETURNING order_no
), here AS (
    UPDATE vds_order_info SET conflict = true, last_update_time = shoudan_now()
    WHERE order_no = ANY(CAST(:order_nos AS bigint[])) AND NOT conflict
    RETURNING order_no
)
SELECT order_no FROM here UNION ALL SELECT order_no FROM archived
""")

_COUNT_QUERIES = statement(f"""
INSERT INTO vds_order_query AS asked (order_no, coop_id, channel_no, query_count, status,
    last_query_time, query_result, create_time)
SELECT given.order_no, order_info.coop_id, order_info.channel_no, 1, given.query_status,
    shoudan_now(), given.result, order_info.create_time
FROM {unnest(order_no="bigint", query_status="smallint", result="text")}
JOIN vds_order_info order_info USING (order_no)
ON CONFLICT (order_no) DO UPDATE SET query_count = asked.query_count + 1, status = excluded.status,
    last_query_time = excluded.last_query_time, query_result = excluded.query_result
""")

_COUNT_PUSHES = statement(f"""
INSERT INTO vds_order_notify AS pushed (order_no, coop_id, coop_order_id, notify_url,
    notify_content, status, result_msg, finish_time, notify_count, notify_limit_count, create_time)
SELECT order_no, coop_id, coop_order_id, 'shoudan.order.v1.OrderService/ReportResults', notify_content,
    CAST(:status AS smallint), CAST(:result_msg AS text),
    CASE WHEN CAST(:status AS smallint) <> {PUSH.initial} THEN shoudan_now() END, 1, CAST(:limit AS integer),
    shoudan_now()
FROM {unnest(**_PUSH)}
ON CONFLICT (order_no) DO UPDATE SET notify_count = pushed.notify_count + 1,
    status = excluded.status, result_msg = excluded.result_msg, finish_time = excluded.finish_time,
    notify_content = excluded.notify_content
""")


async def insert(
    db: AsyncConnection,
    given: Sequence[tuple[int, NewDelivery]],
    sealed: Mapping[int, str],
    sending: Collection[int] = (),
) -> dict[int, datetime]:
    """Write new deliveries with `sealed` accounts, some as `sending`; the create_time of those written."""
    rows = await db.execute(
        _INSERT,
        {
            **columns([new.key for _, new in given], *_KEY),
            **columns(
                [new for _, new in given], "order_id", "channel_no", "carrier_no", "timeout_s"
            ),
            "order_no": [order_no for order_no, _ in given],
            "product_face_micros": [new.face_micros for _, new in given],
            "product_num": [new.num for _, new in given],
            "account": [sealed[order_no] for order_no, _ in given],
            "request_params": [_text(new.params) for _, new in given],
            "sending": [order_no in sending for order_no, _ in given],
        },
    )
    return {row.order_no: row.create_time for row in rows}


def fresh(
    order_no: int, new: NewDelivery, create_time: datetime, *, sending: bool = False
) -> Delivery:
    """The row just written, without reading it."""
    return Delivery(
        order_no=order_no,
        coop_id=new.key.coop_id,
        coop_order_id=new.key.coop_order_id,
        order_id=new.order_id,
        channel_no=new.channel_no,
        service_class=new.key.service_class,
        carrier_no=new.carrier_no,
        product_face_micros=new.face_micros,
        product_num=new.num,
        account=new.account,
        status=Status.SENDING if sending else Status.CREATED,
        request_params=_text(new.params),
        request_count=int(sending),
        request_start_time=create_time if sending else None,
        request_finish_time=None,
        create_time=create_time,
        result_source=Source.NONE,
        result_code="",
        result_desc="",
        result_params="",
        up_order_no="",
        succ_face_micros=0,
        flow_timeout=create_time + timedelta(seconds=new.timeout_s),
        conflict=False,
    )


async def by_key(db: AsyncConnection, keys: Sequence[Key]) -> dict[Key, Delivery]:
    """The deliveries with these keys."""
    rows = await db.execute(_BY_KEY, columns(keys, *_KEY))
    found = [_delivery(row) for row in rows]
    return {Key(d.coop_id, d.coop_order_id, d.service_class): d for d in found}


async def supplier_numbers(
    db: AsyncConnection, owners: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], tuple[int, str]]:
    """The number that the supplier was sent and the account as stored, by (coop_id, coop_order_id)."""
    binds = {"coop_id": [one for one, _ in owners], "coop_order_id": [one for _, one in owners]}
    rows = await db.execute(_SUPPLIER_NUMBERS, binds)
    return {(row.coop_id, row.coop_order_id): (row.order_no, row.account) for row in rows}


async def by_no(db: AsyncConnection, order_nos: Sequence[int]) -> dict[int, Delivery]:
    """The deliveries with these numbers."""
    rows = await db.execute(_BY_NO, {"order_nos": order_nos})
    return {row.order_no: _delivery(row) for row in rows}


async def load_outgoing(
    db: AsyncConnection, order_nos: Sequence[int]
) -> list[tuple[Status, Outgoing]]:
    """Where these stand, with what a call would need."""
    rows = await db.execute(_LOOK, {"order_nos": order_nos})
    return [(Status(row.status), _OUTGOING.read(row)) for row in rows]


def outgoing_of(gone: Delivery) -> Outgoing:
    """What a notify is judged by, of a delivery that has left."""
    return Outgoing(**_shared(gone), age_s=0.0, overdue=True)


def to_call(row: Delivery, sealed: str) -> Outgoing:
    """What the call needs of a delivery just written, with its `sealed` account."""
    facts = _shared(row)
    facts["account"] = sealed
    return Outgoing(**facts, age_s=0.0, overdue=False)


def _shared(row: Delivery) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _SHARED}


async def mark_sending(db: AsyncConnection, order_nos: Sequence[int]) -> list[Outgoing]:
    """20 to 30 for those that may still be sent; those that moved."""
    rows = await db.execute(_MARK_SENDING, {"order_nos": order_nos})
    return _OUTGOING.all(rows)


async def mark_repeated(db: AsyncConnection, order_nos: Sequence[int]) -> list[int]:
    """Count one more sending; those still 30, which alone may be sent again."""
    return list((await db.execute(_MARK_REPEATED, {"order_nos": order_nos})).scalars())


async def overdue(db: AsyncConnection, order_nos: Sequence[int]) -> list[int]:
    """Those never sent whose owner no longer waits."""
    return list((await db.execute(_OVERDUE, {"order_nos": order_nos})).scalars())


async def end(
    db: AsyncConnection, given: Sequence[tuple[Outcome, Status, bool]]
) -> dict[int, EndedDelivery]:
    """To 0 or 90 for those not ended yet, `unsent` ones only from 20; those that moved, by number."""
    rows = await db.execute(
        _END,
        {
            **columns([one for one, _, _ in given], "order_no", "succ_face_micros"),
            "new_status": [status for _, status, _ in given],
            "unsent": [unsent for _, _, unsent in given],
            "result_source": [one.source for one, _, _ in given],
            "result_code": [one.code[:64] for one, _, _ in given],
            "result_desc": [one.desc[:256] for one, _, _ in given],
            "result_params": [_text(one.params) for one, _, _ in given],
            "up_order_no": [one.up_order_no[:64] for one, _, _ in given],
        },
    )
    return {row.order_no: _ENDED.read(row) for row in rows}


async def note_unknown(db: AsyncConnection, given: Sequence[Outcome]) -> dict[int, EndedDelivery]:
    """Store the last code and description of deliveries that stay unknown."""
    rows = await db.execute(
        _NOTE_UNKNOWN,
        {
            "order_no": [one.order_no for one in given],
            "result_code": [one.code[:64] for one in given],
            "result_desc": [one.desc[:256] for one in given],
        },
    )
    return {row.order_no: _ENDED.read(row) for row in rows}


async def unsend(db: AsyncConnection, order_nos: Sequence[int]) -> None:
    """30 back to 20, for those no byte of which ever left: every earlier call was refused, too."""
    await db.execute(_UNSEND, {"order_nos": order_nos})


async def flag_conflicts(db: AsyncConnection, order_nos: Sequence[int]) -> set[int]:
    """A later result contradicts; the state stays. The numbers that were not flagged before."""
    return set((await db.execute(_CONFLICT, {"order_nos": order_nos})).scalars())


async def count_queries(db: AsyncConnection, given: Sequence[tuple[int, int, str]]) -> None:
    """Store queries as (number, status, result)."""
    await db.execute(
        _COUNT_QUERIES,
        {
            "order_no": [order_no for order_no, _, _ in given],
            "query_status": [status for _, status, _ in given],
            "result": [result[:128] for _, _, result in given],
        },
    )


async def count_pushes(
    db: AsyncConnection,
    given: Sequence[Any],
    *,
    status: int,
    result_msg: str,
    limit: int,
) -> None:
    """Note reports to the order service; `given` has the columns of _PUSH."""
    binds = columns(given, *_PUSH)
    more = {"status": status, "result_msg": result_msg[:256], "limit": limit}
    await db.execute(_COUNT_PUSHES, {**binds, **more})


def _text(params: Mapping[str, str]) -> str:
    return _encode(dict(params)).decode() if params else ""


def _delivery(row: Any) -> Delivery:
    delivery = _DELIVERY.read(row)
    status, source = Status(delivery.status), Source(delivery.result_source)
    return msgspec.structs.replace(delivery, status=status, result_source=source)
