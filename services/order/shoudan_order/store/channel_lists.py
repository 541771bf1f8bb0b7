"""Statements that list a channel's own orders, refunds and notifies, each page a range of one index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.text_statements import statement
from shoudan_order.store.refunds import READ_NAMES

Values = Mapping[str, Any]

ATTEMPTS_MAX: Final = 20  # shown of one notify
REFUNDS_MAX: Final = 500  # of one order

# By the index of (down_channel_no, order_id), whose condition is spelt out: a number says when its order was
# taken.
_ORDER: Final = """o.order_id, o.down_channel_no, o.request_no, o.order_status, o.fail_code, o.fail_msg,
    o.line_id, o.carrier_no, o.face_micros, o.num, o.sell_amount_micros, o.service_amount_micros,
    o.commission_amount_micros, o.success_face_micros, o.create_time, o.end_time"""
_ORDERS = statement(f"""
SELECT {_ORDER} FROM oms_order_info o
WHERE o.down_channel_no = :channel_no AND o.order_id > 0 AND o.order_id > :after AND o.order_id < :end
ORDER BY o.order_id LIMIT :most
""")
_ORDERS_DOWN = statement(f"""
SELECT {_ORDER} FROM oms_order_info o
WHERE o.down_channel_no = :channel_no AND o.order_id > 0 AND o.order_id > :after AND o.order_id < :end
ORDER BY o.order_id DESC LIMIT :most
""")
# By the unique (down_channel_no, request_no).
_ORDER_BY_KEY = statement(f"""
SELECT {_ORDER} FROM oms_order_info o
WHERE o.down_channel_no = :channel_no AND o.request_no = :request_no
""")
_REFUNDS_OF = statement(f"""
SELECT {READ_NAMES} FROM oms_order_info o JOIN oms_refund_info r ON r.order_id = o.order_id
WHERE o.down_channel_no = :channel_no AND o.request_no = :request_no ORDER BY r.refund_id LIMIT :most
""")
_REFUNDS = statement(f"""
SELECT {READ_NAMES} FROM oms_refund_info r
WHERE r.down_channel_no = :channel_no AND r.refund_id > 0 AND r.refund_id > :after AND r.refund_id < :end
ORDER BY r.refund_id LIMIT :most
""")

_NOTIFY: Final = """n.notify_id, n.order_id, n.refund_id, o.request_no,
    coalesce(r.down_refund_no, '') AS refund_no, n.notify_url, n.notify_status, n.given_up,
    n.notify_count, n.max_count, n.create_time, n.end_time"""
_JOINED: Final = """JOIN oms_order_info o ON o.order_id = n.order_id
LEFT JOIN oms_refund_info r ON r.refund_id = n.refund_id"""
# By the unique (order_id, refund_id).
_NOTIFIES_OF_ORDER = statement(f"""
SELECT {_NOTIFY} FROM oms_notify_info n {_JOINED}
WHERE n.order_id = :order_id AND n.refund_id >= :refund_id ORDER BY n.refund_id LIMIT :most
""")
# By the partial index of those given up.
_DEAD_NOTIFIES = statement(f"""
SELECT {_NOTIFY} FROM oms_notify_info n {_JOINED}
WHERE n.given_up AND n.down_channel_no = :channel_no AND n.notify_id > :after
ORDER BY n.notify_id LIMIT :most
""")
_ATTEMPTS = statement(f"""
SELECT k.notify_id, a.create_time, a.http_status, a.answer, a.took_ms
FROM unnest(CAST(:ids AS bigint[])) AS k(notify_id)
CROSS JOIN LATERAL (
    SELECT t.create_time, t.http_status, t.answer, t.took_ms
    FROM oms_notify_attempt t WHERE t.notify_id = k.notify_id
    ORDER BY t.attempt_id + 0 DESC LIMIT {ATTEMPTS_MAX}) AS a
""")


async def _rows(db: AsyncConnection, wanted: Any, **binds: Any) -> list[Values]:
    return [dict(row) for row in (await db.execute(wanted, binds)).mappings()]


async def orders(
    db: AsyncConnection,
    channel_no: str,
    after: int,
    end: int,
    most: int,
    *,
    newest_first: bool = False,
) -> list[Values]:
    """Orders of a channel whose numbers lie between, by number."""
    wanted = _ORDERS_DOWN if newest_first else _ORDERS
    return await _rows(db, wanted, channel_no=channel_no, after=after, end=end, most=most)


async def order(db: AsyncConnection, channel_no: str, request_no: str) -> list[Values]:
    """The order that a channel calls so, or none."""
    return await _rows(db, _ORDER_BY_KEY, channel_no=channel_no, request_no=request_no)


async def refunds_of(db: AsyncConnection, channel_no: str, request_no: str) -> list[Values]:
    """The refunds of the order that a channel calls so, by number."""
    key = {"channel_no": channel_no, "request_no": request_no}
    return await _rows(db, _REFUNDS_OF, **key, most=REFUNDS_MAX)


async def refunds(
    db: AsyncConnection, channel_no: str, after: int, end: int, most: int
) -> list[Values]:
    """Refunds of a channel whose numbers lie between, by number."""
    return await _rows(db, _REFUNDS, channel_no=channel_no, after=after, end=end, most=most)


async def notifies_of(
    db: AsyncConnection, order_id: int, refund_id: int, most: int
) -> list[Values]:
    """Notifies of an order, that of its own end first, from this refund on."""
    return await _rows(db, _NOTIFIES_OF_ORDER, order_id=order_id, refund_id=refund_id, most=most)


async def dead_notifies(
    db: AsyncConnection, channel_no: str, after: int, most: int
) -> list[Values]:
    """Notifies of a channel that were given up, by number."""
    return await _rows(db, _DEAD_NOTIFIES, channel_no=channel_no, after=after, most=most)


async def attempts(db: AsyncConnection, notify_ids: Sequence[int]) -> dict[int, list[Values]]:
    """The newest attempts of each notify, newest first."""
    found: dict[int, list[Values]] = {}
    for row in await _rows(db, _ATTEMPTS, ids=list(notify_ids)):
        found.setdefault(row["notify_id"], []).append(row)
    return found
