"""What a partner called lately: each request with its answer, refused ones too."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shoudan.order.v1 import request_log_service_pb2 as pb
from shoudan_console import own
from shoudan_console.lists import Column, Filter, Found, Listing, Query
from shoudan_console.page import Entry, listing_pages
from shoudan_console.values import Status, moment_of
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit

PATH: Final = "/own/requests"
ID_MAX: Final = 64
CLIENT_ERROR: Final = 400


@dataclass(frozen=True, slots=True)
class Row:
    """One request."""

    time: datetime | None
    request_id: str
    call: str
    status: Status
    error_code: str
    took_ms: int
    remote_ip: str
    params: str


def row_of(one: Any) -> Row:
    """A request as it was logged."""
    params = "\n".join(f"{name}={value}" for name, value in sorted(one.params.items()))
    fine = one.http_status < CLIENT_ERROR and not one.error_code
    return Row(
        moment_of(one.time),
        one.request_id,
        f"{one.method} {one.path}",
        Status(f"HTTP {one.http_status}", "good" if fine else "bad"),
        one.error_code,
        one.took_ms,
        one.remote_ip,
        params,
    )


async def fetch(visit: Visit, query: Query) -> Found:
    """A page of a period, in the order of time."""
    start, end = own.period(query)
    request = pb.ListRequestsRequest(
        party=f"channel {own.channel_of(visit)}",
        start_time=start,
        end_time=end,
        request_id=query.text("id")[:ID_MAX],
        failed=query.text("only") == "failed",
        page_size=query.size,
        page_token=query.token,
    )
    answer = await visit.ask(own.LIST_REQUESTS, request)
    return Found(list(map(row_of, answer.requests)), answer.next_page_token)


LISTING: Final = Listing(
    name="own-requests",
    path=PATH,
    title=_("My requests"),
    intro=_("Kept for 28 days, without secrets; a request is here some seconds after its answer."),
    columns=(
        Column("time", _("Time"), lambda row: row.time, "time"),
        Column("call", _("Call"), lambda row: row.call, "code"),
        Column("status", _("Answer"), lambda row: row.status, "status"),
        Column("error", _("Error code"), lambda row: row.error_code, "code"),
        Column("took", _("Took, ms"), lambda row: row.took_ms, "number", small=False),
        Column("ip", _("Came from"), lambda row: row.remote_ip, small=False),
        Column("id", _("Request id"), lambda row: row.request_id, "code", small=False),
        Column("params", _("Parameters"), lambda row: row.params, "folded", small=False),
    ),
    fetch=fetch,
    empty=_("No request in this period. Calls that reached no gateway of ours are not here."),
    filters=(
        own.CHANNEL,
        Filter("id", _("Request id")),
        Filter("only", _("Only"), "choice", (("failed", _("Errors")),)),
        Filter("from", _("From"), "moment"),
        Filter("to", _("To"), "moment"),
    ),
)

PAGES: Final = listing_pages(LISTING, "partner")
NAVIGATION: Final = (Entry(PATH, _("My requests"), _("My access"), whose="partner"),)
