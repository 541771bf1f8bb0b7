"""What must hold of every pay at any moment, as statements over some. Source: reliability.md §3."""

from __future__ import annotations

from typing import Final

from shoudan_kit.db.columns import literal
from shoudan_kit.db.text_statements import statement
from shoudan_kit.tasks.laws import Law, Subject
from shoudan_pay.payserver.states import RefundStatus

# Pays are few: the newest are looked at each time.
_REFUNDED = statement("""
SELECT DISTINCT pay_id AS id FROM (SELECT pay_id FROM refund_order
    WHERE id > least(0, CAST(:after AS bigint)) ORDER BY id DESC LIMIT :most) AS newest
""")
_PAYS = statement("SELECT id FROM pay_order WHERE id > :after ORDER BY id LIMIT :most")
_WITHIN = statement(f"""
SELECT p.id, r.micros || ' of ' || p.amount_micros || ' may be refunded, ' || r.given || ' are, '
    || p.refunded_micros || ' are noted' AS what
FROM unnest(CAST(:ids AS bigint[])) AS g(id) JOIN pay_order p ON p.id = g.id
CROSS JOIN LATERAL (
    SELECT coalesce(sum(amount_micros), 0) AS micros,
        coalesce(sum(amount_micros) FILTER (WHERE status = {literal(RefundStatus.REFUNDED)}), 0) AS given
    FROM refund_order i
    WHERE i.pay_id = p.id AND i.status <> {literal(RefundStatus.REFUND_FAILED)}) AS r
WHERE r.micros > p.amount_micros OR r.given <> p.refunded_micros
""")

SUBJECT: Final = Subject(
    _REFUNDED,
    _PAYS,
    (Law("refunds_within_pay", "I10: no refund beyond the pay", _WITHIN),),
)
