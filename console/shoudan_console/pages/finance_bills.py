"""The bills of channels and suppliers: made, looked through, downloaded, proved again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from starlette.responses import Response, StreamingResponse

from shoudan.finance.v1 import bill_service_pb2 as pb
from shoudan_console import finance_calls as calls
from shoudan_console.lists import Column, Filter, Found, Listing, Query, moment_in
from shoudan_console.page import Entry, Page, listing_pages
from shoudan_console.pages.order import number_in
from shoudan_console.values import Status, moment_of
from shoudan_console.values import mark as _
from shoudan_console.visits import Missing, Visit
from shoudan_kit.rpc.refusal import Refused

PATH: Final = "/finance/bills"
NEW: Final = "/finance/new-bill"
PUBLISHED: Final = 20
DOWNLOAD_S: Final = 600.0
STATES: Final = {
    10: (_("Being made"), "busy"),
    20: (_("Published"), "good"),
    90: (_("Failed"), "bad"),
}
KINDS: Final[dict[str, str]] = {
    "fund": _("Movements of an account"),
    "trade": _("Orders and refunds of a channel"),
    "supply": _("Deliveries and returns of a supplier"),
    "merchant": _("Pays and refunds of a merchant of PayServer"),
}
FORMATS: Final = ("csv", "xlsx", "pdf")


@dataclass(frozen=True, slots=True)
class Row:
    """One bill."""

    bill_id: int
    kind: str
    whose: str
    days: str
    status: Status
    rows: int
    size: int
    file: str
    sha256: str
    what: str
    publish_time: datetime | None

    @property
    def path(self) -> str:
        return f"{PATH}/{self.bill_id}"

    @property
    def there(self) -> bool:
        return self.status.number == PUBLISHED


def row_of(bill: Any) -> Row:
    """A bill as the service gives it."""
    first, last = bill.first_day, bill.last_day
    return Row(
        bill.bill_id,
        KINDS.get(bill.kind) or bill.kind,
        bill.eid or f"{bill.ident} {bill.groups}".strip(),
        first if first == last else f"{first} – {last}",
        Status(*STATES.get(bill.status, (str(bill.status), "idle")), bill.status),
        bill.rows,
        bill.bytes,
        bill.file,
        bill.sha256,
        bill.what,
        moment_of(bill.publish_time),
    )


async def fetch(visit: Visit, query: Query) -> Found:
    """A page of bills, newest first."""
    request = pb.ListBillsRequest(
        eid=query.text("eid"),
        from_day=query.text("from")[:10],
        page_size=query.size,
        page_token=query.token,
    )
    answer = await visit.ask(calls.LIST_BILLS, request)
    return Found([row_of(one) for one in answer.bills], answer.next_page_token)


LISTING: Final = Listing(
    name="finance-bills",
    path=PATH,
    title=_("Bills"),
    columns=(
        Column("bill_id", _("Bill"), lambda row: row.bill_id, "code", lambda row: row.path),
        Column("kind", _("What"), lambda row: row.kind, "word"),
        Column("whose", _("Whose"), lambda row: row.whose, "code"),
        Column("days", _("Days"), lambda row: row.days, "code"),
        Column("status", _("Status"), lambda row: row.status, "status"),
        Column("rows", _("Rows"), lambda row: row.rows, "number", small=False),
        Column(
            "file",
            _("File"),
            lambda row: row.file,
            "text",
            lambda row: f"{row.path}/file" if row.there else "",
            small=False,
        ),
        Column("publish_time", _("Published"), lambda row: row.publish_time, "time", small=False),
    ),
    fetch=fetch,
    empty=_("No bill fits. Make one: a proved day is all it needs."),
    filters=(
        Filter("eid", _("Channel, supplier or member"), hint="test"),
        Filter("from", _("From day"), "moment", hint="2026-11-01"),
    ),
    link=lambda row: row.path,
    template="finance_bills.html",
    more={"make": calls.MAKE_BILL},
)


async def show(visit: Visit) -> Response:
    """One bill: what it is of, its file with its hash, its sums."""
    request = pb.GetBillRequest(bill_id=number_in(visit, "bill_id"))
    bill = (await visit.ask(calls.GET_BILL, request)).bill
    return visit.render(
        "finance_bill.html",
        row=row_of(bill),
        manifest=bill.manifest,
        may=visit.may(calls.VERIFY_BILL),
        verified=visit.query.get("same", ""),
    )


async def verify(visit: Visit) -> Response:
    """Count the file again from the books. It changes nothing."""
    bill_id = number_in(visit, "bill_id")
    answer = await visit.ask(calls.VERIFY_BILL, pb.VerifyBillRequest(bill_id=bill_id))
    return visit.redirect(f"{PATH}/{bill_id}", same="yes" if answer.same else "no")


async def download(visit: Visit) -> Response:
    """The file, piece by piece as the service gives it; cut off when the service fails on the way."""
    bill_id = number_in(visit, "bill_id")
    bill = (await visit.ask(calls.GET_BILL, pb.GetBillRequest(bill_id=bill_id))).bill
    if bill.status != PUBLISHED:
        raise Missing
    request = pb.ExportBillRequest(bill_id=bill_id)
    pieces = visit.site.backend.stream(calls.EXPORT_BILL, request, visit.caller, DOWNLOAD_S)
    first = await anext(pieces, None)  # refused or away: said on a page
    safe = "".join(one if one.isascii() and one not in '"\\/' else "_" for one in bill.file)
    return StreamingResponse(
        _bytes(first, pieces),
        media_type="application/octet-stream",
        headers={
            "content-disposition": f'attachment; filename="{safe}"',
            "content-length": str(bill.bytes),
        },
    )


async def _bytes(first: Any, pieces: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    if first is not None:
        yield first.body
    async for one in pieces:
        yield one.body


async def show_new(visit: Visit, problem: str = "") -> Response:
    """The form of a new bill."""
    return visit.render(
        "finance_new_bill.html",
        400 if problem else 200,
        problem=problem,
        kinds=KINDS,
        formats=FORMATS,
        may=visit.may(calls.MAKE_BILL),
    )


async def make(visit: Visit) -> Response:
    """Ask for a bill; the same one asked for again is the one that there is."""
    form = visit.form
    kind, whose, first = form.get("kind", ""), form.get("eid", "").strip(), form.get("first", "")
    last = form.get("last", "") or first
    if kind not in KINDS or not whose or any(moment_in(day) is None for day in (first, last)):
        return await show_new(visit, _("Say what it is of, whose, and its days as 2026-11-30."))
    request = pb.MakeBillRequest(
        kind=kind,
        ident=form.get("ident", "").strip() if kind == "fund" else "",
        eid=whose[:64],
        first_day=first[:10],
        last_day=last[:10],
        format=form.get("format", FORMATS[0]),
    )
    try:
        bill = (await visit.ask(calls.MAKE_BILL, request)).bill
    except Refused as refused:
        if refused.reason.endswith("NOT_ALLOWED"):
            raise
        return await show_new(visit, str(refused))
    return visit.redirect(f"{PATH}/{bill.bill_id}")


PAGES: Final = (
    *listing_pages(LISTING),
    Page(NEW, show_new, make),
    Page("/finance/bills/{bill_id}", show, verify),
    Page("/finance/bills/{bill_id}/file", download),
)
NAVIGATION: Final = (Entry(PATH, _("Bills"), _("Money"), (calls.LIST_BILLS,)),)
