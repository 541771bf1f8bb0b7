"""The accounting days: a calendar of what is proved, and each day with its accounts and its proof."""

from __future__ import annotations

import calendar as months
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from typing import Any, Final

from starlette.responses import Response

from shoudan.finance.v1 import finance_service_pb2 as pb
from shoudan_console import finance_calls as calls
from shoudan_console.lists import Column, Filter, Found, Listing, Query, days_ago
from shoudan_console.page import Entry, Page, listing_pages
from shoudan_console.values import Status, moment_of
from shoudan_console.values import mark as _
from shoudan_console.visits import Missing, Visit

PATH: Final = "/finance/days"
ACCOUNTS_MAX: Final = 200  # accounts shown of one day; its bill has all
TWO_MONTHS: Final = 62
STATES: Final = {
    10: (_("Being fetched"), "busy"),
    20: (_("Proved"), "good"),
    80: (_("Differs"), "bad"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One accounting day."""

    day: str
    status: Status
    accounts: int
    movements: int
    debits_micros: int
    credits_micros: int
    close_time: datetime | None
    prove_time: datetime | None
    digest: str
    what: str

    @property
    def path(self) -> str:
        return f"{PATH}/{self.day}"

    @property
    def date(self) -> date:
        return date.fromisoformat(self.day)


def row_of(day: Any) -> Row:
    """A day as the service gives it."""
    return Row(
        day.day,
        Status(*STATES.get(day.status, (str(day.status), "idle")), day.status),
        day.accounts,
        day.movements,
        day.debits_micros,
        day.credits_micros,
        moment_of(day.close_time),
        moment_of(day.prove_time),
        day.digest.hex(),
        day.what,
    )


async def fetch(visit: Visit, query: Query) -> Found:
    """A page of days, oldest first; without a day those of the last two months."""
    first = query.text("from")[:10] or days_ago(TWO_MONTHS)
    request = pb.ListDaysRequest(from_day=first, page_size=query.size, page_token=query.token)
    answer = await visit.ask(calls.LIST_DAYS, request)
    return Found([row_of(one) for one in answer.days], answer.next_page_token)


@dataclass(frozen=True, slots=True)
class Month:
    """One month of the calendar; a week has seven places, None outside the month."""

    name: str
    weeks: Sequence[Sequence[tuple[int, Row | None] | None]]


def calendar(rows: Sequence[Row]) -> Sequence[Month]:
    """The months of these days, in their order, each day at its place in its week."""
    found: list[Month] = []
    for name, group in groupby(rows, lambda row: row.day[:7]):
        known = {row.date.day: row for row in group}
        year, month = map(int, name.split("-"))
        weeks = [
            [(day, known.get(day)) if day else None for day in week]
            for week in months.Calendar().monthdayscalendar(year, month)
        ]
        found.append(Month(name, weeks))
    return found


LISTING: Final = Listing(
    name="finance-days",
    path=PATH,
    title=_("Accounting days"),
    intro=_(
        "A day is proved when finance, counting every movement itself, comes to what the ledger closed with."
    ),
    columns=(
        Column("day", _("Day"), lambda row: row.day, "code", lambda row: row.path),
        Column("status", _("Proof"), lambda row: row.status, "status"),
        Column("accounts", _("Accounts"), lambda row: row.accounts, "number", small=False),
        Column("movements", _("Movements"), lambda row: row.movements, "number"),
        Column("debits", _("Spent"), lambda row: row.debits_micros, "money"),
        Column("credits", _("Received"), lambda row: row.credits_micros, "money"),
        Column("prove_time", _("Proved at"), lambda row: row.prove_time, "time", small=False),
        Column("what", _("What differs"), lambda row: row.what, small=False),
    ),
    fetch=fetch,
    empty=_(
        "No day is closed yet. The ledger closes each day shortly after midnight; it is here minutes later."
    ),
    filters=(Filter("from", _("From day"), "moment", hint="2026-11-01"),),
    link=lambda row: row.path,
    template="finance_days.html",
    more={"calendar": calendar},
)


def _day(visit: Visit) -> str:
    text: str = visit.request.path_params["day"]
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise Missing from None


async def show(visit: Visit) -> Response:
    """One day: its sums, its proof, its accounts."""
    day = _day(visit)
    found = (await visit.ask(calls.GET_DAY, pb.GetDayRequest(day=day))).day
    panels = await visit.panels(accounts=_accounts(visit, day))
    return visit.render(
        "finance_day.html",
        row=row_of(found),
        accounts=panels["accounts"],
        accounts_max=ACCOUNTS_MAX,
        may=visit.may(calls.RECHECK_DAY),
    )


async def _accounts(visit: Visit, day: str) -> Sequence[Any]:
    """The first accounts that moved on the day."""
    request = pb.ExportAccountDaysRequest(day=day)
    found: list[Any] = []
    backend, call_s = visit.site.backend, visit.site.settings.call_s
    async for answer in backend.stream(calls.EXPORT_ACCOUNT_DAYS, request, visit.caller, call_s):
        found += answer.accounts
        if len(found) >= ACCOUNTS_MAX:
            break
    return found[:ACCOUNTS_MAX]


async def recheck(visit: Visit) -> Response:
    """Count the day again. A repeat counts once more and changes nothing."""
    day = _day(visit)
    await visit.ask(calls.RECHECK_DAY, pb.RecheckDayRequest(day=day))
    return visit.redirect(f"{PATH}/{day}", done="recheck")


PAGES: Final = (*listing_pages(LISTING), Page("/finance/days/{day}", show, recheck))
NAVIGATION: Final = (Entry(PATH, _("Accounting days"), _("Money"), (calls.LIST_DAYS,)),)
