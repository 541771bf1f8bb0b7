"""Dingdang: the notices of pays and refunds to its partners, and how the last attempt went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from shoudan.pay.v1 import platform_service_pb2 as pb
from shoudan.pay.v1.platform_service_pb2_grpc import PlatformServiceStub
from shoudan_console.backend import Rpc
from shoudan_console.lists import Column, Filter, Found, Listing, Query
from shoudan_console.page import Entry, listing_pages
from shoudan_console.values import Status
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit

PATH: Final = "/dingdang"
NEWEST: Final = 1_000  # the service gives no more, and no pages
LIST_NOTICES: Final = Rpc("pay", PlatformServiceStub, "shoudan.pay.v1.PlatformService/ListNotices")
KINDS: Final[dict[str, str]] = {"paid": _("Paid"), "refunded": _("Refunded")}
STATES: Final = {
    "waiting": (_("Waiting"), "busy"),
    "done": (_("Acknowledged"), "good"),
    "given_up": (_("Given up"), "bad"),
    "dropped": (_("Not needed"), "idle"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One notice."""

    notice_id: int
    domain_id: str
    kind: str
    traction_no: str
    status: Status
    count: int
    http_status: str
    answer: str


def row_of(one: Any) -> Row:
    """A notice as the service gives it."""
    return Row(
        one.notice_id,
        one.domain_id,
        KINDS.get(one.kind) or one.kind,
        one.traction_no,
        Status(*STATES.get(one.status.lower(), (one.status, "busy"))),
        one.count,
        str(one.http_status or ""),
        one.answer,
    )


async def fetch(visit: Visit, query: Query) -> Found:
    """A page of the newest notices."""
    begin = int(query.token) if query.token.isascii() and query.token.isdigit() else 0
    end = min(NEWEST, begin + query.size)
    request = pb.ListNoticesRequest(domain_id=query.text("domain"), limit=min(NEWEST, end + 1))
    found = (await visit.ask(LIST_NOTICES, request)).notices
    return Found([row_of(one) for one in found[begin:end]], str(end) if end < len(found) else "")


LISTING: Final = Listing(
    name="dingdang",
    path=PATH,
    title=_("Notices to Dingdang partners"),
    intro=_("The newest thousand. One that was given up waits in the work queue."),
    columns=(
        Column("notice_id", _("Notice"), lambda row: row.notice_id, "code"),
        Column("domain_id", _("Domain"), lambda row: row.domain_id, "code"),
        Column("kind", _("What"), lambda row: row.kind, "word"),
        Column("traction_no", _("Number"), lambda row: row.traction_no, "code"),
        Column("status", _("Status"), lambda row: row.status, "status"),
        Column("count", _("Attempts"), lambda row: row.count, "number", small=False),
        Column("http_status", _("HTTP"), lambda row: row.http_status, "number", small=False),
        Column("answer", _("Answer"), lambda row: row.answer, small=False),
    ),
    fetch=fetch,
    empty=_("No notice yet. Partners are told when their users pay."),
    filters=(Filter("domain", _("Domain")),),
)

PAGES: Final = listing_pages(LISTING)
NAVIGATION: Final = (Entry(PATH, _("Dingdang"), _("Platforms"), (LIST_NOTICES,)),)
