"""Periods: days and months that are closed, closing one, and opening one again by two persons."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from starlette.responses import Response

from shoudan.core.v1 import proposal_service_pb2 as proposal_pb
from shoudan.finance.v1 import book_service_pb2 as pb
from shoudan_console import finance_calls as calls
from shoudan_console import lists
from shoudan_console.lists import Column, Found, Listing, Query
from shoudan_console.page import Entry, Page, listing_pages
from shoudan_console.proposing import call_or_propose
from shoudan_console.values import mark as _
from shoudan_console.visits import Missing, Visit
from shoudan_kit.rpc.refusal import Refused

PATH: Final = "/finance/periods"
REASON_MAX: Final = 256
REOPENINGS_SHOWN: Final = 20
# Where to go on when a period may not be closed yet, by the end of the service's reason.
NEXT: Final = {
    "EXCEPTIONS_OPEN": "/finance/exceptions?state=open",
    "DAY_NOT_FOUND": "/finance/days",
    "DAY_INCOMPLETE": "/finance/days",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One closed period."""

    first: str
    last: str
    accounts: int
    opening_micros: int
    debits_micros: int
    credits_micros: int
    closing_micros: int
    digest: str
    closed_by: str
    close_time: datetime

    @property
    def name(self) -> str:
        return self.first if self.first == self.last else self.first[:7]

    @property
    def path(self) -> str:
        return f"{PATH}/{self.first}/{self.last}"


def row_of(one: Any) -> Row:
    """A period as the service gives it."""
    return Row(
        one.first_day,
        one.last_day,
        one.accounts,
        one.opening_micros,
        one.debits_micros,
        one.credits_micros,
        one.closing_micros,
        one.digest.hex(),
        one.closed_by,
        one.close_time.ToDatetime(UTC),
    )


async def fetch(visit: Visit, query: Query) -> Found:
    """A page of closed periods, oldest first."""
    request = pb.ListPeriodsRequest(page_size=query.size, page_token=query.token)
    answer = await visit.ask(calls.LIST_PERIODS, request)
    return Found([row_of(one) for one in answer.periods], answer.next_page_token)


LISTING: Final = Listing(
    name="finance-periods",
    path=PATH,
    title=_("Closed periods"),
    intro=_(
        "A closed day or month has its sums for good: what is posted later is of a later day. It is opened "
        "again by two persons, and how it had been closed stays known."
    ),
    columns=(
        Column("name", _("Period"), lambda row: row.name, "code", lambda row: row.path),
        Column("accounts", _("Accounts"), lambda row: row.accounts, "number", small=False),
        Column("opening", _("Opening"), lambda row: row.opening_micros, "money", small=False),
        Column("debits", _("Spent"), lambda row: row.debits_micros, "money"),
        Column("credits", _("Received"), lambda row: row.credits_micros, "money"),
        Column("closing", _("Closing"), lambda row: row.closing_micros, "money"),
        Column("by", _("Closed by"), lambda row: row.closed_by, small=False),
        Column("close_time", _("Closed"), lambda row: row.close_time, "time", small=False),
    ),
    fetch=fetch,
    empty=_("No period is closed yet. A proved day whose differences are decided can be closed."),
    link=lambda row: row.path,
    template="finance_periods.html",
)


async def show_all(visit: Visit, problem: str = "", onward: str = "") -> Response:
    """The list, the form that closes a period, and what was opened again."""
    asked = pb.ListReopeningsRequest(page_size=REOPENINGS_SHOWN)
    panels = await visit.panels(reopened=visit.ask(calls.LIST_REOPENINGS, asked))
    response = await lists.show(
        LISTING,
        visit,
        may_close=visit.may(calls.CLOSE_PERIOD),
        reopened=panels["reopened"],
        problem=problem,
        onward=onward,
    )
    response.status_code = 400 if problem else 200
    return response


async def close(visit: Visit) -> Response:
    """Close a day, or the month that it is in. Sent twice, it is closed once."""
    first = _day(visit.form.get("day", ""))
    if first is None:
        return await show_all(visit, _("Say which day, as 2026-11-30."))
    last = first
    if visit.form.get("what") == "month":
        first = first.replace(day=1)
        last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    request = pb.ClosePeriodRequest(
        first_day=str(first), last_day=str(last), by=visit.known.operator
    )
    try:
        await visit.ask(calls.CLOSE_PERIOD, request, calls.LONG_S)
    except Refused as refused:
        if refused.reason.endswith("NOT_ALLOWED"):
            raise
        onward = next((path for end, path in NEXT.items() if refused.reason.endswith(end)), "")
        return await show_all(visit, str(refused), onward)
    return visit.redirect(PATH, done="close", key=str(first) if first == last else f"{first:%Y-%m}")


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _days(visit: Visit) -> tuple[str, str]:
    """The period that the address names."""
    found = [_day(visit.request.path_params[name]) for name in ("first", "last")]
    if None in found:
        raise Missing
    return str(found[0]), str(found[1])


async def show(visit: Visit, problem: str = "", proposal: Any = None) -> Response:
    """The form that opens a period again."""
    first, last = _days(visit)
    return visit.render(
        "finance_period.html",
        400 if problem else 200,
        first=first,
        last=last,
        name=first if first == last else first[:7],
        may=visit.may(calls.REOPEN_PERIOD),
        once=visit.form.get("once", "") or secrets.token_hex(16),
        problem=problem,
        proposal=proposal,
    )


async def reopen(visit: Visit) -> Response:
    """Propose that it is opened again; another person approves it. Sent twice, it counts once."""
    first, last = _days(visit)
    reason = visit.form.get("reason", "").strip()
    if not reason or len(reason) > REASON_MAX:
        return await show(visit, _("Say why, in at most 256 characters."))
    if not visit.known.proved:
        return visit.redirect("/prove", next=f"{PATH}/{first}/{last}")
    request = pb.ReopenPeriodRequest(
        first_day=first, last_day=last, reason=reason, by=visit.known.operator
    )
    once = visit.form.get("once", "")[:64]
    try:
        answer = await call_or_propose(visit, calls.REOPEN_PERIOD, request, reason, once)
    except Refused as refused:
        if refused.reason.endswith("NOT_ALLOWED"):
            raise
        return await show(visit, str(refused))
    if isinstance(answer, proposal_pb.Proposal):
        return await show(visit, proposal=answer)
    return visit.redirect(PATH, done="reopen", key=first)


_LIST, *_MORE = listing_pages(LISTING)
PAGES: Final = (
    Page(PATH, show_all, close),
    *_MORE,
    Page("/finance/periods/{first}/{last}", show, reopen),
)
NAVIGATION: Final = (Entry(PATH, _("Closed periods"), _("Money"), (calls.LIST_PERIODS,)),)
