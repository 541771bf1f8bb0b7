"""Holds trades to the ledger: what moved about each is what it says, in the accounts it should."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import IntEnum
from typing import Final

from shoudan_finance.context import Context
from shoudan_finance.store import trades as store
from shoudan_finance.store.trades import Money, Trade

PAGE_ROWS: Final = 1000
# An order has its first movement when it is made, and no order lives longer.
LOOK_BACK: Final = timedelta(days=62)


class Kind(IntEnum):
    """What a trade is; and what a movement is about."""

    ORDER = 1
    REFUND = 2
    DELIVERY = 3
    RETURN = 4


# What amount, commission and service fee do to the accounts of the channel or supplier.
_SIGNS: Final = {
    Kind.ORDER: (-1, 1, -1),
    Kind.REFUND: (1, -1, 1),
    Kind.DELIVERY: (-1, 1, 1),
    Kind.RETURN: (1, -1, -1),
}
_GROUPS: Final = ("channel", "commission", "service")
# What a failed order gets back is posted under its number with this letter, as a refund.
BACK: Final = "r"

Account = tuple[str, str]  # groups, eid


@dataclass(slots=True)
class Found:
    """How far a day agrees."""

    apart: int = 0
    what: str = ""
    accounts: dict[int, Account] = field(default_factory=dict[int, Account])
    known: set[str] = field(default_factory=set[str])

    def add(self, trade: Trade, moved: dict[Account, int]) -> None:
        """One trade and what moved about it."""
        wanted = expected(trade)
        if wanted == moved:
            return
        self.apart += 1
        if not self.what:
            name = Kind(trade.kind).name.lower()
            self.what = f"{name} {trade.number}: {_words(wanted)} expected, {_words(moved)} moved"


def expected(trade: Trade) -> dict[Account, int]:
    """What a trade moves, account by account, without zeros."""
    kind = Kind(trade.kind)
    down = kind in {Kind.ORDER, Kind.REFUND}
    side, eid = ("down", trade.down_channel_no) if down else ("up", trade.up_channel_no)
    amounts = trade.amount_micros, trade.commission_micros, trade.service_micros
    return {
        (f"{side}_{group}", eid): sign * amount
        for group, sign, amount in zip(_GROUPS, _SIGNS[kind], amounts, strict=True)
        if amount
    }


def numbers(trade: Trade) -> list[tuple[str, int]]:
    """Under which numbers the ledger has a trade, and as being about what."""
    own = str(trade.number), trade.kind
    return [own, (f"{BACK}{trade.number}", Kind.REFUND)] if trade.kind == Kind.ORDER else [own]


async def look(context: Context, day: date) -> Found:
    """How far the trades of a day agree with the movements that are here."""
    found, after = Found(), 0
    while True:
        async with context.app.db.connect() as db:
            page = await store.trades(db, day, after=after, most=PAGE_ROWS)
        if page:
            await _hold(context, found, page, day - LOOK_BACK)
            after = page[-1].number
        if len(page) < PAGE_ROWS:
            return found


async def _hold(context: Context, found: Found, page: Sequence[Trade], from_day: date) -> None:
    eids = {one.up_channel_no or one.down_channel_no for one in page} - found.known
    names = [name for one in page for name, _ in numbers(one)]
    async with context.app.db.connect() as db:
        if eids:
            ident = context.app.settings.trade_ident
            owners = await store.owners(db, ident, sorted(eids), from_day)
            found.accounts |= {one.account_id: (one.groups, one.eid) for one in owners}
            found.known |= eids
        moved = _by_number(await store.money(db, names, from_day))
    for one in page:
        money = [one for key in numbers(one) for one in moved.get(key, ())]
        found.add(one, _sums(money, found.accounts))


def _by_number(money: Iterable[Money]) -> dict[tuple[str, int], list[Money]]:
    made: dict[tuple[str, int], list[Money]] = {}
    for one in money:
        made.setdefault((one.trade_no, one.about), []).append(one)
    return made


def _sums(money: Iterable[Money], accounts: dict[int, Account]) -> dict[Account, int]:
    """By account; one that is none of the channels' stands under its number."""
    made: dict[Account, int] = {}
    for one in money:
        key = accounts.get(one.account_id, ("account", str(one.account_id)))
        made[key] = made.get(key, 0) + one.amount_micros
    return {key: amount for key, amount in made.items() if amount}


def _words(amounts: dict[Account, int]) -> str:
    listed = (f"{groups}/{eid} {amount}" for (groups, eid), amount in sorted(amounts.items()))
    return ", ".join(listed) or "nothing"
