"""What must be true of a ledger's database at every moment, as SQL: each statement gives no row.

Run after every test of the whole system, too: `assert not await broken(database)`.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

from shoudan_kit.db.pool import Database

# A record is two legs: its account and, with the other sign, its contra account.
_LEGS: Final = """
    SELECT record_id, account_id, amount_micros FROM account_record
    UNION ALL SELECT record_id, contra_account_id, -amount_micros FROM account_record"""

INVARIANTS: Final = {
    "I1 records sum to zero": f"""
        SELECT sum(amount_micros) FROM ({_LEGS}) leg HAVING coalesce(sum(amount_micros), 0) <> 0""",
    "I1 every record faces the platform account of its ident and groups": """
        SELECT r.record_id FROM account_record r LEFT JOIN account_info a USING (account_id)
        LEFT JOIN account_info p ON p.account_id = r.contra_account_id
        WHERE a.account_id IS NULL OR p.account_id IS NULL OR p.groups <> 'platform'
            OR p.ident <> a.ident OR p.eid <> a.groups""",
    "I2 stored balance is the sum of the records": """
        SELECT a.account_id FROM account_info a
        LEFT JOIN (SELECT account_id, sum(amount_micros) s, max(seq) m
            FROM account_record GROUP BY 1) r USING (account_id)
        WHERE a.balance_micros <> coalesce(r.s, 0) OR a.seq <> coalesce(r.m, 0)""",
    "I2 running balance and seq have no gap": """
        SELECT record_id FROM (SELECT record_id, seq, balance_micros,
            lag(balance_micros, 1, 0::bigint) OVER w + amount_micros AS want,
            lag(seq, 1, 0::bigint) OVER w + 1 AS want_seq
            FROM account_record WINDOW w AS (PARTITION BY account_id ORDER BY seq)) x
        WHERE balance_micros <> want OR seq <> want_seq""",
    "I3 no spending left less than minus the credit of its time": """
        SELECT record_id FROM account_record
        WHERE amount_micros < 0 AND balance_micros < floor_micros""",
    "I4 records are never changed or deleted": """
        SELECT relname FROM pg_stat_user_tables
        WHERE relname IN ('account_record', 'package_record') AND (n_tup_upd > 0 OR n_tup_del > 0)""",
    "I4 the service's role may only read and add": """
        SELECT grantee, privilege_type FROM information_schema.role_table_grants
        WHERE table_name IN ('account_record', 'package_record') AND grantee = 'shoudan_pay'
            AND privilege_type NOT IN ('SELECT', 'INSERT')""",
    "packages hold what their records left": """
        SELECT p.pkg_id FROM package_info p JOIN LATERAL (SELECT remain FROM package_record r
            WHERE r.pkg_id = p.pkg_id ORDER BY record_id DESC LIMIT 1) last ON true
        WHERE p.total_remain <> last.remain""",
}


async def broken(database: Database) -> dict[str, list[str]]:
    """The invariants that do not hold, each with some of the rows that break it."""
    found: dict[str, list[str]] = {}
    async with database.connect() as db:
        for name, sql in INVARIANTS.items():
            rows = (await db.execute(text(f"{sql} LIMIT 5"))).all()
            if rows:
                found[name] = [str(row) for row in rows]
    return found
