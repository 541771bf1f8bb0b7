"""What must hold of every delivery at any moment, as statements over some. Source: reliability.md §3."""

from __future__ import annotations

from typing import Final

from shoudan_delivery.states import QueryStatus, Status
from shoudan_kit.db.columns import literal, literals
from shoudan_kit.db.text_statements import statement
from shoudan_kit.tasks.laws import Law, Subject

_ENDED: Final = literals([Status.SUCCEEDED, Status.FAILED])

_CHANGED = statement("""
SELECT order_no AS id FROM vds_order_info WHERE order_no > :after ORDER BY order_no DESC LIMIT :most
""")
_WALKED = statement(
    "SELECT order_no AS id FROM vds_order_info WHERE order_no > :after ORDER BY order_no LIMIT :most"
)
_RESTS = statement(f"""
SELECT o.order_no AS id, 'asked about after its end' AS what
FROM unnest(CAST(:ids AS bigint[])) AS g(id) JOIN vds_order_info o ON o.order_no = g.id
JOIN vds_order_query q ON q.order_no = o.order_no
WHERE o.status IN ({_ENDED}) AND q.status + 0 = {literal(QueryStatus.WAITING)} AND q.query_count > 0
    AND q.last_query_time > o.request_finish_time
""")
_ONCE = statement("""
SELECT o.order_no AS id, 'made twice for one delivery' AS what
FROM unnest(CAST(:ids AS bigint[])) AS g(id) JOIN vds_order_info o ON o.order_no = g.id
JOIN vds_order_info t ON t.order_id = o.order_id AND t.coop_id = o.coop_id
    AND t.coop_order_id = o.coop_order_id AND t.service_class = o.service_class AND t.order_no <> o.order_no
""")

SUBJECT: Final = Subject(
    _CHANGED,
    _WALKED,
    (
        Law("ended_delivery_rests", "I9: nothing ended is asked about", _RESTS),
        Law("delivery_made_once", "I9: one of ours for each of theirs", _ONCE),
    ),
)
