"""What must hold of every order at any moment, as statements over some orders. Source: reliability.md §3."""

from __future__ import annotations

from typing import Final

from shoudan_kit.db.columns import literal, literals
from shoudan_kit.db.text_statements import statement
from shoudan_kit.tasks.laws import Law, Subject
from shoudan_order.states import (
    ENDED,
    OPEN_DELIVERIES,
    AuditStatus,
    DeliveryStatus,
    OrderStatus,
    RefundStatus,
)

# Steps at the overtime take seconds, and a process that died with one gives it up after its lease.
OVERDUE_S: Final = 300

_ENDED: Final = literals(sorted(ENDED))
_RUNNING: Final = literals(sorted(set(OrderStatus) - ENDED))
_OPEN: Final = literals(sorted(OPEN_DELIVERIES))
_BOUND: Final = literals(sorted({*OPEN_DELIVERIES, DeliveryStatus.SUCCEEDED}))
# A partial refund asked for more than it gave.
_HELD: Final = literals(sorted(set(RefundStatus) - {RefundStatus.FAILED, RefundStatus.PARTIAL}))
_GIVEN: Final = literals([RefundStatus.SUCCEEDED, RefundStatus.REFUNDING, RefundStatus.PARTIAL])
_ENDS: Final = literals(
    f"shoudan.events.order.order.{end}" for end in ("succeeded", "failed", "partial")
)

# The orders of the newest events, and those of their refunds. Not every key of nineteen digits is a number.
_CHANGED = statement("""
WITH changed AS MATERIALIZED (
    SELECT DISTINCT CAST(key AS bigint) AS id FROM (
        SELECT key FROM event WHERE event_id > :after ORDER BY event_id DESC LIMIT :most
    ) AS newest WHERE key ~ '^([0-9]{1,18}|[1-8][0-9]{18})$')
SELECT o.order_id AS id FROM changed JOIN oms_order_info o ON o.order_id = changed.id
UNION
SELECT r.order_id FROM changed JOIN oms_refund_info r ON r.refund_id = changed.id
""")
_WALKED = statement(
    "SELECT order_id AS id FROM oms_order_info WHERE order_id > :after ORDER BY order_id LIMIT :most"
)

_ENDS_ONCE = statement(f"""
SELECT g.id, string_agg(e.subject, ', ') AS what
FROM unnest(CAST(:ids AS bigint[])) AS g(id) JOIN event e ON e.key = CAST(g.id AS text)
WHERE e.subject IN ({_ENDS})
GROUP BY g.id HAVING count(*) > 1
""")

_REFUNDED = statement(f"""
SELECT o.order_id AS id, r.num || ' of ' || o.num || ' refunded' AS what
FROM unnest(CAST(:ids AS bigint[])) AS g(id) JOIN oms_order_info o ON o.order_id = g.id
CROSS JOIN LATERAL (
    SELECT sum(refund_sell_amount_micros) AS micros, sum(refund_num) AS num
    FROM oms_refund_info i WHERE i.order_id = o.order_id AND i.refund_status IN ({_HELD})) AS r
WHERE r.micros > o.sell_amount_micros OR r.num > o.num
""")

_EXPLAINED = statement(f"""
SELECT o.order_id AS id, o.success_face_micros || ', by its deliveries '
    || coalesce(d.face, 0) - coalesce(r.face, 0) AS what
FROM unnest(CAST(:ids AS bigint[])) AS g(id) JOIN oms_order_info o ON o.order_id = g.id
CROSS JOIN LATERAL (SELECT sum(total_face_micros) AS face FROM oms_order_delivery i
    WHERE i.order_id = o.order_id AND i.delivery_status = {literal(DeliveryStatus.SUCCEEDED)}) AS d
CROSS JOIN LATERAL (SELECT sum(refund_face_micros) AS face FROM oms_refund_info i
    WHERE i.order_id = o.order_id AND i.refund_status IN ({_GIVEN})) AS r
WHERE o.success_face_micros <> coalesce(d.face, 0) - coalesce(r.face, 0)
""")

_RESTS = statement(f"""
SELECT o.order_id AS id, 'delivery ' || min(d.delivery_id) || ' is open' AS what
FROM unnest(CAST(:ids AS bigint[])) AS g(id) JOIN oms_order_info o ON o.order_id = g.id
JOIN oms_order_delivery d ON d.order_id = o.order_id
WHERE o.order_status IN ({_ENDED}) AND d.delivery_status IN ({_OPEN})
GROUP BY o.order_id
""")

_BOUND_ONCE = statement(f"""
SELECT o.order_id AS id, sum(d.total_face_micros) || ' of ' || o.total_face_micros AS what
FROM unnest(CAST(:ids AS bigint[])) AS g(id) JOIN oms_order_info o ON o.order_id = g.id
JOIN oms_order_delivery d ON d.order_id = o.order_id
WHERE d.delivery_status IN ({_BOUND})
GROUP BY o.order_id HAVING sum(d.total_face_micros) > o.total_face_micros
""")

_ENDS_IN_TIME = statement(f"""
SELECT o.order_id AS id, 'open since ' || o.order_overtime AS what
FROM unnest(CAST(:ids AS bigint[])) AS g(id) JOIN oms_order_info o ON o.order_id = g.id
WHERE o.order_status IN ({_RUNNING}) AND o.parked_reason = ''
    AND o.order_overtime < shoudan_now() - interval '{OVERDUE_S} s'
""")

_LISTED = statement(f"""
SELECT o.order_id AS id, o.parked_reason AS what
FROM unnest(CAST(:ids AS bigint[])) AS g(id) JOIN oms_order_info o ON o.order_id = g.id
WHERE o.parked_reason <> '' AND NOT EXISTS (SELECT FROM oms_audit_info a
    WHERE a.order_id = o.order_id AND a.audit_status = {literal(AuditStatus.WAITING)})
""")

SUBJECT: Final = Subject(
    _CHANGED,
    _WALKED,
    (
        Law("order_ends_once", "I8: an order ends once", _ENDS_ONCE),
        Law("refunds_within_order", "I7: no refund beyond what was bought", _REFUNDED),
        Law("deliveries_explain_order", "I8: deliveries less returns are what it got", _EXPLAINED),
        Law("ended_order_rests", "I8: nothing is on its way for what has ended", _RESTS),
        Law("order_bound_once", "I9: bound to no more than it bought", _BOUND_ONCE),
        Law("order_ends_in_time", "I8: it ends in time, or waits for a person", _ENDS_IN_TIME),
        Law("parked_order_is_listed", "I8: a person finds what waits for one", _LISTED),
    ),
)
