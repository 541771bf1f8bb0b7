"""What must hold of every account at any moment, as statements over some. Source: reliability.md §3."""

from __future__ import annotations

from typing import Final

from shoudan_kit.db.text_statements import statement
from shoudan_kit.tasks.laws import Law, Subject

LAST: Final = 50  # records of an account that one look compares

_MOVED = statement("""
SELECT DISTINCT account_id AS id FROM (SELECT account_id FROM account_record
    WHERE record_id > :after ORDER BY record_id DESC LIMIT :most) AS newest
""")
_ACCOUNTS = statement(
    "SELECT account_id AS id FROM account_info WHERE account_id > :after ORDER BY account_id LIMIT :most"
)

_STANDS = statement("""
SELECT a.account_id AS id, a.balance_micros || ' at ' || a.seq || ', its record '
    || r.balance_micros || ' at ' || r.seq AS what
FROM unnest(CAST(:ids AS bigint[])) AS g(id) JOIN account_info a ON a.account_id = g.id
CROSS JOIN LATERAL (SELECT seq, balance_micros FROM account_record i
    WHERE i.account_id = a.account_id ORDER BY i.seq DESC LIMIT 1) AS r
WHERE (a.balance_micros, a.seq) IS DISTINCT FROM (r.balance_micros, r.seq)
""")

_FOLLOWS = statement(f"""
SELECT g.id, 'record ' || min(r.seq) || ' does not follow' AS what
FROM unnest(CAST(:ids AS bigint[])) AS g(id)
CROSS JOIN LATERAL (
    SELECT seq, balance_micros, amount_micros, lag(balance_micros) OVER w AS balance_before,
        lag(seq) OVER w AS seq_before
    FROM (SELECT seq, balance_micros, amount_micros FROM account_record i
        WHERE i.account_id = g.id ORDER BY i.seq DESC LIMIT {LAST}) AS newest
    WINDOW w AS (ORDER BY seq)) AS r
WHERE r.seq <> r.seq_before + 1 OR r.balance_micros <> r.balance_before + r.amount_micros
GROUP BY g.id
""")

_COVERED = statement(f"""
SELECT g.id, 'record ' || min(r.seq) || ' is below its floor' AS what
FROM unnest(CAST(:ids AS bigint[])) AS g(id)
CROSS JOIN LATERAL (SELECT seq, balance_micros, amount_micros, floor_micros
    FROM account_record i WHERE i.account_id = g.id ORDER BY i.seq DESC LIMIT {LAST}) AS r
WHERE r.amount_micros < 0 AND r.balance_micros < r.floor_micros
GROUP BY g.id
""")

_PAIRED = statement(f"""
SELECT g.id, 'record ' || min(r.seq) || ' is against no platform account' AS what
FROM unnest(CAST(:ids AS bigint[])) AS g(id)
CROSS JOIN LATERAL (SELECT seq, contra_account_id
    FROM account_record i WHERE i.account_id = g.id ORDER BY i.seq DESC LIMIT {LAST}) AS r
LEFT JOIN account_info c ON c.account_id = r.contra_account_id
WHERE c.account_id IS NULL OR c.contra_account_id IS NOT NULL
GROUP BY g.id
""")

SUBJECT: Final = Subject(
    _MOVED,
    _ACCOUNTS,
    (
        Law("account_is_its_last_record", "I2: a balance is what its records say", _STANDS),
        Law("records_follow", "I2: running balances and positions have no gap", _FOLLOWS),
        Law("debits_are_covered", "I3: nobody spends more than the credit there was", _COVERED),
        Law("records_have_a_contra", "I1: a record is against a platform account", _PAIRED),
    ),
)
