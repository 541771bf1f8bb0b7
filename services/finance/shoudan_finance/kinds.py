"""The kinds of background work of the finance service, as data."""

from __future__ import annotations

from typing import Final

import msgspec

from shoudan_kit.tasks.kinds import Kind

FOREVER_S: Final = 100 * 366 * 86_400


class FollowDays(msgspec.Struct, frozen=True):
    """Note the days that the ledger has closed."""


class FillDay(msgspec.Struct, frozen=True):
    """Fetch the movements of a day and prove them."""

    day: str


class FillTrades(msgspec.Struct, frozen=True):
    """Fetch the trades of a day and hold them to the ledger."""

    day: str


class MakeBill(msgspec.Struct, frozen=True):
    """Make a bill and publish it."""

    bill_id: int


class NotifyBill(msgspec.Struct, frozen=True):
    """Notify a channel of a bill."""

    bill_id: int


class Reconcile(msgspec.Struct, frozen=True):
    """Match what a source has open."""

    run_id: int


class BookException(msgspec.Struct, frozen=True):
    """Make the posting of a decision."""

    exception_id: int


class Inquire(msgspec.Struct, frozen=True):
    """Have something done about an exception that settles nothing, and note what became of it."""

    exception_id: int
    what: str  # inquiring.SUPPLIER or inquiring.NOTIFY
    by: str


class SendAlert(msgspec.Struct, frozen=True):
    """Send a target what it was not notified of a threshold."""

    account_id: int
    threshold_micros: int
    target: str


# Never finished, always had back: it may not run out of days or counts.
FOLLOW_DAYS: Final = Kind(
    "finance.follow_days",
    FollowDays,
    "finance:follow_days",
    interval_s=300,
    deadline_s=FOREVER_S,
    count_max=10_000_000,
    exclusive=True,
    each=True,
)

# One at a time and in each process: a day of a million movements takes a minute of one core.
FILL_DAY: Final = Kind(
    "finance.fill_day",
    FillDay,
    "finance:fill_day",
    interval_s=60,
    deadline_s=FOREVER_S,
    count_max=10_000_000,
    exclusive=True,
    each=True,
)

FILL_TRADES: Final = Kind(
    "finance.fill_trades",
    FillTrades,
    "finance:fill_trades",
    interval_s=60,
    deadline_s=FOREVER_S,
    count_max=10_000_000,
    exclusive=True,
    each=True,
)

MAKE_BILL: Final = Kind(
    "finance.make_bill",
    MakeBill,
    "finance:make_bill",
    interval_s=60,
    deadline_s=40 * 86_400,
    count_max=10_000,
    exclusive=True,
    each=True,
    parallel=2,
)

RECONCILE: Final = Kind(
    "finance.reconcile",
    Reconcile,
    "finance:reconcile",
    interval_s=60,
    deadline_s=FOREVER_S,
    count_max=10_000_000,
    exclusive=True,
    each=True,
)

BOOK_EXCEPTION: Final = Kind(
    "finance.book_exception",
    BookException,
    "finance:book_exception",
    interval_s=60,
    deadline_s=FOREVER_S,
    count_max=10_000_000,
    exclusive=True,
    each=True,
)

INQUIRE: Final = Kind(
    "finance.inquire",
    Inquire,
    "finance:inquire",
    interval_s=60,
    exclusive=True,
    each=True,
    parallel=4,
)

# Each target of each threshold has its own: one that is away holds up no other.
SEND_ALERT: Final = Kind(
    "finance.send_alert",
    SendAlert,
    "finance:send_alert",
    interval_s=20,
    deadline_s=FOREVER_S,
    count_max=10_000_000,
    exclusive=True,
    each=True,
    parallel=8,
)

NOTIFY_BILL: Final = Kind(
    "finance.notify_bill",
    NotifyBill,
    "finance:notify_bill",
    interval_s=20,
    deadline_s=40 * 86_400,
    count_max=100_000,
    exclusive=True,
    each=True,
    parallel=8,
)
