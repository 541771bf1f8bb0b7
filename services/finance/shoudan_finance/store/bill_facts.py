"""Statements that fund bills are made by: accounts of a period, their days, and what they had before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_finance.store.days import AccountFact
from shoudan_kit.db.columns import Rows
from shoudan_kit.db.text_statements import statement

ACCOUNTS_MAX: Final = 10_000
DAYS_MAX: Final = 400


@dataclass(frozen=True, slots=True)
class Account:
    """An account as the books last saw it in a period."""

    account_id: int
    ident: str
    groups: str
    eid: str
    name: str


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has accounts."""

    ident: str
    eid: str


_ACCOUNT: Final = Rows(Account)
_FACT: Final = Rows(AccountFact)
_SIDE: Final = "groups <> 'platform'"

# Of one holder: all that ever moved, so that one that rested shows its balance.
_OF_HOLDER = statement(f"""
SELECT DISTINCT ON (account_id) {_ACCOUNT.of()} FROM account_fact
WHERE ident = :ident AND eid = :eid AND day <= CAST(:to_day AS date) AND {_SIDE}
ORDER BY account_id, day DESC LIMIT :most
""")
_OF_IDENT = statement(f"""
SELECT DISTINCT ON (account_id) {_ACCOUNT.of()} FROM account_fact
WHERE day >= CAST(:from_day AS date) AND day <= CAST(:to_day AS date) AND ident = :ident AND {_SIDE}
ORDER BY account_id, day DESC LIMIT :most
""")
_DAYS = statement(f"""
SELECT {_FACT.of()} FROM account_fact
WHERE ident = :ident AND eid = :eid AND day >= CAST(:from_day AS date) AND day <= CAST(:to_day AS date)
    AND account_id = :account_id
ORDER BY day LIMIT {DAYS_MAX}
""")
_BEFORE = statement("""
SELECT closing_micros FROM account_fact
WHERE ident = :ident AND eid = :eid AND day < CAST(:from_day AS date) AND account_id = :account_id
ORDER BY day DESC LIMIT 1
""")
_HOLDERS = statement(f"""
SELECT DISTINCT ident, eid FROM account_fact
WHERE day >= CAST(:from_day AS date) AND day <= CAST(:to_day AS date) AND {_SIDE}
ORDER BY ident, eid LIMIT :most
""")
_CHANNELS = statement("""
SELECT DISTINCT down_channel_no FROM trade WHERE day_no = :of_day AND kind IN (1, 2)
""")
_SUPPLIERS = statement("""
SELECT DISTINCT up_channel_no FROM trade WHERE day_no = :of_day AND kind IN (3, 4)
""")


_FIRST_DAY = statement("SELECT day FROM finance_day ORDER BY day LIMIT 1")
_NEWEST_DAY = statement("SELECT day FROM finance_day ORDER BY day DESC LIMIT 1")


async def first_day(db: AsyncConnection) -> date | None:
    """The day the books begin with."""
    return (await db.execute(_FIRST_DAY)).scalar_one_or_none()


async def newest_day(db: AsyncConnection) -> date | None:
    """The newest day of the books."""
    return (await db.execute(_NEWEST_DAY)).scalar_one_or_none()


async def accounts(
    db: AsyncConnection, ident: str, eid: str, first: date, last: date
) -> list[Account]:
    """Accounts of a holder that moved by the last day; without `eid` those that moved in the period."""
    binds = {"ident": ident, "to_day": last, "most": ACCOUNTS_MAX}
    if eid:
        return _ACCOUNT.all(await db.execute(_OF_HOLDER, binds | {"eid": eid}))
    return _ACCOUNT.all(await db.execute(_OF_IDENT, binds | {"from_day": first}))


async def days_of(
    db: AsyncConnection, account: Account, first: date, last: date
) -> list[AccountFact]:
    """The days of a period on which the account moved."""
    return _FACT.all(await db.execute(_DAYS, _of(account) | {"from_day": first, "to_day": last}))


async def closing_before(db: AsyncConnection, account: Account, first: date) -> int:
    """What the account had before a day."""
    return (await db.execute(_BEFORE, _of(account) | {"from_day": first})).scalar() or 0


async def holders(db: AsyncConnection, first: date, last: date, most: int) -> list[Holder]:
    """Who has accounts that moved in a period."""
    binds = {"from_day": first, "to_day": last, "most": most}
    return Rows(Holder).all(await db.execute(_HOLDERS, binds))


async def traded(db: AsyncConnection, day_no: int, *, up: bool) -> list[str]:
    """Down channels, or suppliers, with trades on a day."""
    found = await db.execute(_SUPPLIERS if up else _CHANNELS, {"of_day": day_no})
    return sorted(found.scalars())


def _of(account: Account) -> dict[str, object]:
    return {"ident": account.ident, "eid": account.eid, "account_id": account.account_id}
