"""Statements on what accounts had: holders by pages, their accounts over a period, debts and their age."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_finance.store.bill_facts import Holder
from shoudan_kit.db.columns import Rows
from shoudan_kit.db.text_statements import columns, statement, unnest


@dataclass(frozen=True, slots=True)
class Balance:
    """One account over a period."""

    account_id: int
    ident: str
    groups: str
    eid: str
    name: str
    debits_micros: int
    credits_micros: int
    closing_micros: int

    @property
    def opening_micros(self) -> int:
        """What it had before."""
        return self.closing_micros + self.debits_micros - self.credits_micros


@dataclass(frozen=True, slots=True)
class Above:
    """The last day on which an account did not end below zero, and the first one after it."""

    account_id: int
    since_day: date


# From holder to holder along the index, so that a page costs as many steps as it has holders.
_HOLDERS = statement("""
WITH RECURSIVE holder AS (
    (SELECT ident, eid FROM account_fact WHERE (ident, eid) > (:ident, :eid)
        ORDER BY ident, eid LIMIT 1)
    UNION ALL
    SELECT n.ident, n.eid FROM holder h CROSS JOIN LATERAL (
        SELECT f.ident, f.eid FROM account_fact f WHERE (f.ident, f.eid) > (h.ident, h.eid)
        ORDER BY f.ident, f.eid LIMIT 1) n
)
SELECT ident, eid FROM holder LIMIT :most
""")
_BALANCES = statement(f"""
SELECT a.account_id, given.ident, a.groups, given.eid, a.name, a.debits_micros, a.credits_micros,
    a.closing_micros
FROM {unnest(ident="text", eid="text")}
CROSS JOIN LATERAL (
    SELECT f.account_id, (array_agg(f.groups ORDER BY f.day DESC))[1] AS groups,
        (array_agg(f.name ORDER BY f.day DESC))[1] AS name,
        coalesce(sum(f.debits_micros) FILTER (WHERE f.day >= CAST(:from_day AS date)), 0)::bigint
            AS debits_micros,
        coalesce(sum(f.credits_micros) FILTER (WHERE f.day >= CAST(:from_day AS date)), 0)::bigint
            AS credits_micros,
        (array_agg(f.closing_micros ORDER BY f.day DESC))[1] AS closing_micros
    FROM account_fact f
    WHERE f.ident = given.ident AND f.eid = given.eid AND f.day <= CAST(:to_day AS date)
        AND f.groups <> 'platform'
    GROUP BY f.account_id
) a
""")
# The first day behind the last one that did not end below zero; the first of all when none did.
_SINCE = statement(f"""
SELECT given.account_id, s.since_day
FROM {unnest(account_id="bigint", ident="text", eid="text")}
CROSS JOIN LATERAL (
    SELECT min(f.day) AS since_day FROM account_fact f
    WHERE f.ident = given.ident AND f.eid = given.eid AND f.account_id = given.account_id
        AND f.day <= CAST(:to_day AS date) AND f.closing_micros < 0
        AND f.day > coalesce((
            SELECT g.day FROM account_fact g
            WHERE g.ident = given.ident AND g.eid = given.eid AND g.account_id = given.account_id
                AND g.day <= CAST(:to_day AS date) AND g.closing_micros >= 0
            ORDER BY g.day DESC LIMIT 1), date '1970-01-01')
) s
WHERE s.since_day IS NOT NULL
""")


async def holders(db: AsyncConnection, after: Holder, most: int) -> list[Holder]:
    """Who has accounts, behind one, by system and number."""
    binds = {"ident": after.ident, "eid": after.eid, "most": most}
    return Rows(Holder).all(await db.execute(_HOLDERS, binds))


async def balances(
    db: AsyncConnection, of: Sequence[Holder], first: date, last: date
) -> list[Balance]:
    """The accounts of holders over a period, by system, number and account."""
    binds = columns(of, "ident", "eid") | {"from_day": first, "to_day": last}
    found = Rows(Balance).all(await db.execute(_BALANCES, binds))
    return sorted(found, key=lambda one: (one.ident, one.eid, one.account_id))


async def since(db: AsyncConnection, of: Sequence[Balance], last: date) -> dict[int, date]:
    """Since which day accounts have ended below zero."""
    binds = columns(of, "account_id", "ident", "eid") | {"to_day": last}
    found = Rows(Above).all(await db.execute(_SINCE, binds))
    return {one.account_id: one.since_day for one in found}
