"""Runs of the reconciliation: what each found, and why one failed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from shoudan.finance.v1 import reconcile_service_pb2 as pb
from shoudan_console import finance_calls as calls
from shoudan_console.lists import Column, Filter, Found, Listing, Query
from shoudan_console.page import Entry, listing_pages
from shoudan_console.values import Status
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit

PATH: Final = "/finance/runs"
STATES: Final = {
    10: (_("Running"), "busy"),
    30: (_("Ended"), "good"),
    80: (_("Failed"), "bad"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One run."""

    run_id: int
    source: str
    status: Status
    what: str
    matched: int
    exceptions: int
    late: int
    awaiting: int
    uncovered: int
    asked_by: str
    create_time: datetime


def row_of(one: Any) -> Row:
    """A run as the service gives it."""
    return Row(
        one.run_id,
        one.source,
        Status(*STATES.get(one.status, (str(one.status), "idle")), one.status),
        one.what,
        one.matched,
        one.longs + one.shorts + one.amounts + one.outcomes + one.settlements,
        one.late,
        one.awaiting,
        one.uncovered,
        one.asked_by,
        one.create_time.ToDatetime(UTC),
    )


async def fetch(visit: Visit, query: Query) -> Found:
    """A page of runs, newest first."""
    request = pb.ListRunsRequest(
        source=query.text("source"), page_size=query.size, page_token=query.token
    )
    answer = await visit.ask(calls.LIST_RUNS, request)
    return Found([row_of(one) for one in answer.runs], answer.next_page_token)


LISTING: Final = Listing(
    name="finance-runs",
    path=PATH,
    title=_("Reconciliation runs"),
    intro=_("What each run matched and found. One that failed is made again within the hour."),
    columns=(
        Column("run_id", _("Run"), lambda row: row.run_id, "code"),
        Column(
            "source",
            _("Source"),
            lambda row: row.source,
            "text",
            lambda row: f"/finance/exceptions?source={row.source}",
        ),
        Column("status", _("Status"), lambda row: row.status, "status"),
        Column("what", _("Why it failed"), lambda row: row.what),
        Column("matched", _("Matched"), lambda row: row.matched, "number"),
        Column("exceptions", _("New exceptions"), lambda row: row.exceptions, "number"),
        Column("late", _("Came late"), lambda row: row.late, "number", small=False),
        Column("awaiting", _("Not due"), lambda row: row.awaiting, "number", small=False),
        Column(
            "uncovered", _("Days without a statement"), lambda row: row.uncovered, "number",
            small=False,
        ),
        Column("asked_by", _("Asked for by"), lambda row: row.asked_by, small=False),
        Column("create_time", _("Begun"), lambda row: row.create_time, "time", small=False),
    ),
    fetch=fetch,
    empty=_("No run yet: one follows every import."),
    filters=(Filter("source", _("Source"), hint="ycup"),),
)  # fmt: skip

PAGES: Final = listing_pages(LISTING)
NAVIGATION: Final = (Entry(PATH, _("Reconciliation runs"), _("Money"), (calls.LIST_RUNS,)),)
