"""The statements of suppliers, platforms and banks that were imported, and what they came to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from shoudan.finance.v1 import statement_service_pb2 as pb
from shoudan_console import finance_calls as calls
from shoudan_console.lists import Column, Filter, Found, Listing, Query
from shoudan_console.page import Entry, listing_pages
from shoudan_console.values import Status
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit

PATH: Final = "/finance/statements"
NEW: Final = "/finance/import"
BOOKS: Final = {1: _("Ours"), 2: _("Theirs"), 3: _("The bank's")}
STATES: Final = {20: (_("In force"), "good"), 90: (_("Replaced by a correction"), "idle")}


@dataclass(frozen=True, slots=True)
class Row:
    """One imported file."""

    statement_id: int
    source: str
    book: str
    file_name: str
    days: str
    entries: int
    duplicates: int
    skipped: int
    credits_micros: int
    debits_micros: int
    status: Status
    by: str
    sha256: str
    create_time: datetime


def row_of(one: Any) -> Row:
    """A statement as the service gives it."""
    first, last = one.first_day, one.last_day
    return Row(
        one.statement_id,
        one.source,
        BOOKS.get(one.book, str(one.book)),
        one.file_name,
        first if first == last else f"{first} – {last}",
        one.entries,
        one.duplicates,
        one.skipped,
        one.credits_micros,
        one.debits_micros,
        Status(*STATES.get(one.status, (str(one.status), "idle")), one.status),
        one.by,
        one.sha256.hex(),
        one.create_time.ToDatetime(UTC),
    )


async def fetch(visit: Visit, query: Query) -> Found:
    """A page of statements, newest first."""
    request = pb.ListStatementsRequest(
        source=query.text("source"), page_size=query.size, page_token=query.token
    )
    answer = await visit.ask(calls.LIST_STATEMENTS, request)
    return Found([row_of(one) for one in answer.statements], answer.next_page_token)


LISTING: Final = Listing(
    name="finance-statements",
    path=PATH,
    title=_("Statements"),
    intro=_("What others say that moved: files of suppliers, platforms and banks."),
    columns=(
        Column("statement_id", _("Statement"), lambda row: row.statement_id, "code"),
        Column(
            "source",
            _("Source"),
            lambda row: row.source,
            "text",
            lambda row: f"/finance/exceptions?source={row.source}",
        ),
        Column("book", _("Book"), lambda row: row.book, "word", small=False),
        Column("file_name", _("File"), lambda row: row.file_name, small=False),
        Column("days", _("Days"), lambda row: row.days, "code"),
        Column("entries", _("Entries"), lambda row: row.entries, "number"),
        Column("duplicates", _("Twice"), lambda row: row.duplicates, "number", small=False),
        Column("skipped", _("Left out"), lambda row: row.skipped, "number", small=False),
        Column("credits", _("Received"), lambda row: row.credits_micros, "money", small=False),
        Column("debits", _("Spent"), lambda row: row.debits_micros, "money", small=False),
        Column("status", _("Status"), lambda row: row.status, "status"),
        Column("by", _("Imported by"), lambda row: row.by, small=False),
        Column("create_time", _("Imported"), lambda row: row.create_time, "time", small=False),
    ),
    fetch=fetch,
    empty=_(
        "No statement yet. Import one here, or: shoudan statement import FILE --template NAME."
    ),
    filters=(Filter("source", _("Source"), hint="ycup"),),
    template="finance_statements.html",
    more={"importing": calls.IMPORT_STATEMENT, "new": NEW},
)

PAGES: Final = listing_pages(LISTING)
NAVIGATION: Final = (Entry(PATH, _("Statements"), _("Money"), (calls.LIST_STATEMENTS,)),)
