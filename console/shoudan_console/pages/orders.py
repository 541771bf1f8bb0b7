"""The orders: found by channel, status, account, time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.responses import Response

from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_console import calls, statuses
from shoudan_console.lists import Column, Filter, Found, Listing, Query, address
from shoudan_console.page import Entry, Page, listing_pages
from shoudan_console.surveys import survey
from shoudan_console.system_time import now
from shoudan_console.values import Status
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit

PARKED: Final = "parked"
PATH: Final = "/orders"
BY_TIME: Final = "/orders/by-time"
DAY: Final = timedelta(days=1)
SEALED: Final = "~"  # how services give an account that they do not open


@dataclass(frozen=True, slots=True)
class Row:
    """One order in a list."""

    order_id: int
    channel_no: str
    request_no: str
    line_id: int
    carrier_no: str
    account: str
    face_micros: int
    num: int
    sell_micros: int
    status: Status
    notify: Status
    create_time: datetime
    parked: str

    @property
    def path(self) -> str:
        return f"{PATH}/{self.order_id}"


def row_of(order: Any) -> Row:
    """An order as the service gives it."""
    return Row(
        order.state.order_id,
        order.state.channel_no,
        order.state.request_no,
        order.request.line_id,
        order.request.carrier_no,
        masked(order.request.recharge_account),
        order.request.face_micros,
        order.request.num,
        order.sell_amount_micros,
        statuses.status(statuses.ORDER, order.state.status),
        statuses.status(statuses.NOTIFY, order.notify_status),
        order.create_time.ToDatetime(UTC),
        order.parked_reason,
    )


def masked(account: str) -> str:
    """An account as everyone may see it: its beginning and its tail; nothing of one that is sealed."""
    if account.startswith(SEALED):
        return "****"
    if len(account) <= 7:
        return "*" * len(account)
    return f"{account[:3]}****{account[-4:]}"


async def fetch(visit: Visit, query: Query) -> Found:
    """A page of orders, newest first. Without a time the last week is looked through for an account."""
    request = pb.ListOrdersRequest(
        channel_no=query.text("channel"),
        account=query.text("account"),
        parked=query.text("status") == PARKED,
        page_size=query.size,
        page_token=query.token,
    )
    status = query.text("status")
    if status and status != PARKED:
        wanted: Any = int(status)  # the stubs ask for a type that there is not at run time
        request.statuses.append(wanted)
    for name, field in (("from", request.start_time), ("to", request.end_time)):
        moment = query.moment(name)
        if moment is not None:
            stamp = Timestamp()
            stamp.FromDatetime(moment)
            field.CopyFrom(stamp)
    answer = await visit.ask(calls.LIST_ORDERS, request)
    return Found([row_of(one) for one in answer.orders], answer.next_page_token)


LISTING: Final = Listing(
    name="orders",
    path=PATH,
    title=_("Orders"),
    columns=(
        Column("order_id", _("Order"), lambda row: row.order_id, "code", lambda row: row.path),
        Column("channel_no", _("Channel"), lambda row: row.channel_no),
        Column(
            "request_no", _("Channel's number"), lambda row: row.request_no, "code", small=False
        ),
        Column("account", _("Account"), lambda row: row.account, "code", small=False),
        Column("carrier_no", _("Carrier"), lambda row: row.carrier_no, small=False),
        Column("face", _("Face"), lambda row: row.face_micros, "money", small=False),
        Column("num", _("Units"), lambda row: row.num, "number", small=False),
        Column("sell", _("Sale"), lambda row: row.sell_micros, "money"),
        Column("status", _("Status"), lambda row: row.status, "status"),
        Column("notify", _("Notify"), lambda row: row.notify, "status", small=False),
        Column("create_time", _("Created"), lambda row: row.create_time, "time"),
    ),
    fetch=fetch,
    empty=_("No order fits. Take a filter away, or widen the time."),
    filters=(
        Filter("channel", _("Channel"), hint="test"),
        Filter("account", _("Account, whole"), hint="13800138000"),
        Filter(
            "status",
            _("Status"),
            "choice",
            (
                *((str(number), word) for number, (word, _tone) in statuses.ORDER.items()),
                (PARKED, _("Parked for a person")),
            ),
        ),
        Filter("from", _("From"), "moment", hint="2026-11-30"),
        Filter("to", _("To"), "moment"),
    ),
    link=lambda row: row.path,
    template="orders.html",
)


async def by_time(visit: Visit) -> Response:
    """The orders of the period, or of the last day, as bars; each leads to its orders. A filter that is
    neither time nor channel is kept for those, and not counted."""
    query = LISTING.query(visit)
    end = query.moment("to") or now().replace(microsecond=0) + timedelta(seconds=1)
    start = query.moment("from") or end - DAY
    title = query.text("channel") or visit.text(_("Orders of all channels"))
    kept = {name: value for name, value in query.filters.items() if name not in {"from", "to"}}
    if end <= start:
        start = end - DAY
    panels = await visit.panels(one=survey(visit, start, end, **kept))
    return visit.render(
        "histogram_part.html" if visit.fragment else "histogram.html",
        panel=panels["one"],
        title=title,
        back=address(PATH, query),
    )


PAGES: Final = (Page(BY_TIME, by_time), *listing_pages(LISTING))
NAVIGATION: Final = (Entry(PATH, _("Orders"), _("Operate"), (calls.LIST_ORDERS,)),)
