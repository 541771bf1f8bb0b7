"""Reports from the books: trial balance, income, debts and their age, what is invoiced."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from shoudan_finance import day_books, losses, trade_books
from shoudan_finance.context import Context
from shoudan_finance.losses import Loss
from shoudan_finance.refusals import FieldInvalid
from shoudan_finance.store import balances, bill_facts, incomes, trades
from shoudan_finance.store.balances import Balance
from shoudan_finance.store.bill_facts import Holder
from shoudan_finance.store.incomes import KEYS, KindSum
from shoudan_finance.store.trades import Trade
from shoudan_finance.tax_rates import Terms
from shoudan_finance.trade_proof import Kind
from shoudan_kit.clock import BEIJING

HOLDERS_PAGE: Final = 100
PAGE_ROWS: Final = 1000
DAYS_MAX: Final = 366


@dataclass(slots=True)
class Income:
    """What the trades of one line, channel or supplier come to."""

    key: str
    orders: int = 0
    sales_micros: int = 0
    refunds_micros: int = 0
    costs_micros: int = 0
    returns_micros: int = 0
    commissions_out_micros: int = 0
    commissions_in_micros: int = 0
    services_micros: int = 0
    fees_micros: int = 0
    losses: int = 0
    loss_micros: int = 0

    @property
    def profit_micros(self) -> int:
        """毛利."""
        sold = self.sales_micros - self.refunds_micros - self.commissions_out_micros
        bought = self.costs_micros - self.returns_micros - self.commissions_in_micros
        return sold - bought + self.services_micros

    def add(self, one: KindSum) -> None:
        """Trades of one kind more."""
        kind, sign = Kind(one.kind), -1 if one.kind in {Kind.REFUND, Kind.RETURN} else 1
        down = kind in {Kind.ORDER, Kind.REFUND}
        self.services_micros += sign * one.service_micros
        self.fees_micros += sign * one.fee_micros
        if down:
            self.commissions_out_micros += sign * one.commission_micros
        else:
            self.commissions_in_micros += sign * one.commission_micros
        if kind is Kind.ORDER:
            self.orders += one.trades
            self.sales_micros += one.amount_micros
        elif kind is Kind.REFUND:
            self.refunds_micros += one.amount_micros
        elif kind is Kind.DELIVERY:
            self.costs_micros += one.amount_micros
        else:
            self.returns_micros += one.amount_micros

    def lose(self, micros: int) -> None:
        """A delivery more that was booked at a loss; the profit has it already."""
        self.losses += 1
        self.loss_micros += micros


@dataclass(frozen=True, slots=True)
class Debt:
    """An account below zero, and since when."""

    balance: Balance
    since_day: date
    days: int


@dataclass(frozen=True, slots=True)
class Invoice:
    """What is invoiced, or taken back, and at which rates; None when none is configured."""

    day: date
    trade: Trade
    terms: Terms | None


async def trial_balance(
    context: Context, first: date, last: date, ident: str = ""
) -> AsyncIterator[list[Balance]]:
    """What each account had and moved in a period, by system, number and account, page by page.

    Refuses FieldInvalid, DayNotFound, DayIncomplete.
    """
    await hold_days(context, first, last)
    async for page in _balances(context, first, last):
        if kept := [one for one in page if ident in {"", one.ident}]:
            yield kept


async def hold_days(context: Context, first: date, last: date) -> None:
    """Refuses unless every day of a period that the books have is complete: its movements are final."""
    async with context.app.db.connect() as db:
        begun = await bill_facts.first_day(db)
    for day in period(first, last):
        if day == last or (begun is not None and day >= begun):
            await day_books.complete_day(context, day)


def period(first: date, last: date) -> list[date]:
    """The days of a period. Refuses FieldInvalid."""
    if not 0 <= (last - first).days < DAYS_MAX:
        raise FieldInvalid("last_day", f"within {DAYS_MAX} days from first_day on")
    return [first + timedelta(days=at) for at in range((last - first).days + 1)]


async def _balances(context: Context, first: date, last: date) -> AsyncIterator[list[Balance]]:
    after = Holder("", "")
    while True:
        async with context.app.db.connect() as db:
            found = await balances.holders(db, after, HOLDERS_PAGE)
            page = await balances.balances(db, found, first, last) if found else []
        if page:
            yield page
        if len(found) < HOLDERS_PAGE:
            return
        after = found[-1]


async def income(context: Context, first: date, last: date, by: str) -> list[Income]:
    """What the trades of a period come to, by key.

    Refuses FieldInvalid, TradeDayNotFound, TradeDayIncomplete, DayNotFound, DayIncomplete.
    """
    if by not in KEYS:
        raise FieldInvalid("by", f"say {', '.join(KEYS)}")
    made: dict[str, Income] = {}
    for day in await traded_days(context, first, last):
        async with context.app.db.connect() as db:
            found = await incomes.sums(db, day, by)
        for one in found:
            if one.key:
                made.setdefault(one.key, Income(one.key)).add(one)
        await day_books.complete_day(context, day)
        async for page in losses.of_day(context, day):
            for loss in page:
                key = loss.key(by)
                made.setdefault(key, Income(key)).lose(loss.loss_micros)
    return [made[key] for key in sorted(made)]


async def lost(context: Context, first: date, last: date) -> AsyncIterator[tuple[date, list[Loss]]]:
    """What was booked at a loss in a period, by day. Refuses FieldInvalid, DayNotFound, DayIncomplete."""
    await hold_days(context, first, last)
    for day in period(first, last):
        async for page in losses.of_day(context, day):
            yield day, page


async def traded_days(context: Context, first: date, last: date) -> list[date]:
    """The days of a period that the books have. Refuses unless the trades of all of them are here."""
    async with context.app.db.connect() as db:
        begun = await bill_facts.first_day(db)
    days = [one for one in period(first, last) if one == last or (begun and one >= begun)]
    for day in days:
        await trade_books.fetched_day(context, day)
    return days


async def debts(context: Context, day: date) -> AsyncIterator[list[Debt]]:
    """Accounts below zero at the end of a day, since when. Refuses DayNotFound, DayIncomplete."""
    await day_books.complete_day(context, day)
    async for page in _balances(context, day, day):
        below = [one for one in page if one.closing_micros < 0]
        if not below:
            continue
        async with context.app.db.connect() as db:
            since = await balances.since(db, below, day)
        yield [
            Debt(one, since[one.account_id], (day - since[one.account_id]).days) for one in below
        ]


async def invoices(context: Context, day: date) -> AsyncIterator[list[Invoice]]:
    """Orders of a day that need an invoice, and refunds of such, at the rates of the order's day.

    Refuses TradeDayNotFound, TradeDayIncomplete.
    """
    await trade_books.fetched_day(context, day)
    after = 0
    while True:
        async with context.app.db.connect() as db:
            found = await incomes.invoiced(db, day, after, PAGE_ROWS)
            orders = {one.order_id for one in found if one.kind == Kind.REFUND}
            known = await trades.by_number(db, sorted(orders)) if orders else {}
        if found:
            yield [_invoice(context, day, one, known.get(one.order_id)) for one in found]
            after = found[-1].number
        if len(found) < PAGE_ROWS:
            return


def _invoice(context: Context, day: date, one: Trade, order: Trade | None) -> Invoice:
    sold = one if order is None else order
    sold_on = sold.end_time.astimezone(BEIJING).date()
    return Invoice(day, one, context.rates.of(sold.line_id, sold.product_no, sold_on))
