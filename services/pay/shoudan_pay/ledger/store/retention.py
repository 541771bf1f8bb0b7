"""Which records leave the database, and what stays known of them."""

from __future__ import annotations

from typing import Final

from shoudan_kit.db.chains import Chains
from shoudan_kit.db.ended import Stay

KEPT: Final = (
    "trade_no", "account_id", "trade_type", "change_type", "record_id", "ext_no", "amount_micros",
    "balance_micros", "seq", "create_time",
)  # fmt: skip
_PIECES: Final = (
    "unnest(CAST(:ids AS bigint[]), CAST(:lows AS bigint[]), CAST(:highs AS bigint[]))"
    " AS g(account_id, low, high)"
)

# A statement is signed after its heads are proved. One that was made on a later day than the day was closed
# says where the chains ended behind all of its records.
SEALED: Final = Stay(
    "unsealed",
    "no signed statement was made since it was closed",
    "NOT EXISTS (SELECT FROM ledger_statement s JOIN ledger_day l ON l.day = d.day"
    " WHERE s.day > CAST(l.create_time AT TIME ZONE 'Asia/Shanghai' AS date))",
)

RECORDS: Final = Chains(
    table="account_record",
    chain="account_id",
    place="seq",
    days="SELECT d.day, d.account_id AS chain, d.seq_from AS low, d.seq_to AS high, a.eid AS owner,"
    " coalesce(e.seq, 0) AS left_upto FROM account_day d"
    " JOIN account_info a ON a.account_id = d.account_id"
    " LEFT JOIN account_archived e ON e.account_id = d.account_id",
    stays=(SEALED,),
    held_no="EXISTS (SELECT FROM account_record r WHERE r.account_id = d.chain AND r.seq >= d.low"
    " AND r.seq <= d.high AND CAST(h.number AS text) IN (r.trade_no, r.ext_no))",
    lots="ledger_archived_lot",
    remember=f"""
INSERT INTO account_archived_record ({", ".join(KEPT)})
SELECT {", ".join(f"r.{name}" for name in KEPT)} FROM {_PIECES}
JOIN account_record r ON r.account_id = g.account_id AND r.seq > g.low AND r.seq <= g.high
""",
    move=f"""
INSERT INTO account_archived AS e (account_id, seq, balance_micros, hash)
SELECT r.account_id, r.seq, r.balance_micros, r.hash FROM {_PIECES}
JOIN account_record r ON r.account_id = g.account_id AND r.seq = g.high
ON CONFLICT (account_id) DO UPDATE SET seq = excluded.seq, balance_micros = excluded.balance_micros,
    hash = excluded.hash WHERE e.seq < excluded.seq
""",
    copied_in="finance",
    holds_in="order",
)
