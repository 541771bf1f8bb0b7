"""Background work of the finance service: following the ledger's days, and filling them."""

from __future__ import annotations

from typing import Any, Final

from shoudan_finance import (
    alerts,
    bill_links,
    bill_notices,
    bills,
    day_books,
    deciding,
    inquiring,
    reconciling,
    trade_books,
)
from shoudan_finance.context import Context
from shoudan_finance.kinds import (
    BOOK_EXCEPTION,
    FILL_DAY,
    FILL_TRADES,
    FOLLOW_DAYS,
    INQUIRE,
    MAKE_BILL,
    NOTIFY_BILL,
    RECONCILE,
    SEND_ALERT,
    BookException,
    FillDay,
    FillTrades,
    FollowDays,
    Inquire,
    MakeBill,
    NotifyBill,
    Reconcile,
    SendAlert,
)
from shoudan_kit.tasks.kinds import Handler, Task, handles_each


@handles_each(FOLLOW_DAYS)
async def follow_days(context: Context, task: Task[FollowDays]) -> None:
    """Note closed days, and come again."""
    await day_books.follow(context, task)
    await alerts.look(context)
    await trade_books.note(context)
    await bills.daily(context)
    await bill_links.purge(context)


@handles_each(FILL_DAY)
async def fill_day(context: Context, task: Task[FillDay]) -> None:
    """Fetch a day's movements and prove them."""
    await day_books.fill(context, task)


@handles_each(FILL_TRADES)
async def fill_trades(context: Context, task: Task[FillTrades]) -> None:
    """Fetch a day's trades and hold them to the ledger."""
    await trade_books.fill(context, task)


@handles_each(MAKE_BILL)
async def make_bill(context: Context, task: Task[MakeBill]) -> None:
    """Make a bill and publish it."""
    await bills.make(context, task)


@handles_each(RECONCILE)
async def reconcile(context: Context, task: Task[Reconcile]) -> None:
    """Match what a source has open."""
    await reconciling.run(context, task)


@handles_each(BOOK_EXCEPTION)
async def book_exception(context: Context, task: Task[BookException]) -> None:
    """Make the posting of a decision."""
    await deciding.book(context, task)


@handles_each(INQUIRE)
async def inquire(context: Context, task: Task[Inquire]) -> None:
    """Ask a supplier, or have a channel notified again, about an exception."""
    await inquiring.inquire(context, task)


@handles_each(NOTIFY_BILL)
async def notify_bill(context: Context, task: Task[NotifyBill]) -> None:
    """Notify a channel of a bill."""
    await bill_notices.notify(context, task)


@handles_each(SEND_ALERT)
async def send_alert(context: Context, task: Task[SendAlert]) -> None:
    """Send a target the next crossing of a threshold."""
    await alerts.send(context, task)


HANDLERS: Final[tuple[Handler[Any], ...]] = (
    follow_days,
    fill_day,
    fill_trades,
    make_bill,
    reconcile,
    book_exception,
    inquire,
    send_alert,
    notify_bill,
)
