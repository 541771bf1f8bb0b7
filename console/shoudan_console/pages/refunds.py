"""The refunds: found by channel, status, time; each leads to its order, where everything of it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_console import calls, statuses
from shoudan_console.lists import Column, Filter, Found, Listing, Query
from shoudan_console.page import Entry, listing_pages
from shoudan_console.pages import orders
from shoudan_console.values import Status
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit

PATH: Final = "/refunds"
TYPES: Final[statuses.Known] = {
    pb.REFUND_TYPE_GENERAL: (_("General: the supplier takes the goods back first"), "idle"),
    pb.REFUND_TYPE_MANDATORY: (_("Mandatory: the money goes back at once"), "warn"),
    pb.REFUND_TYPE_MANUAL: (_("By hand, after a false success"), "warn"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One refund in a list."""

    refund_id: int
    order_id: int
    channel_no: str
    request_no: str
    refund_no: str
    kind: Status
    num: int
    amount_micros: int
    status: Status
    notify: Status
    reason: str
    create_time: datetime

    @property
    def path(self) -> str:
        return f"{orders.PATH}/{self.order_id}"


def row_of(one: Any) -> Row:
    """A refund as the service gives it."""
    return Row(
        one.refund_id,
        one.order_id,
        one.request.channel_no,
        one.request.request_no,
        one.request.refund_no,
        statuses.status(TYPES, one.request.type),
        one.request.refund_num,
        one.refund_sell_amount_micros,
        statuses.status(statuses.REFUND, one.status),
        statuses.status(statuses.NOTIFY, one.refund_notify_status),
        one.request.reason,
        one.create_time.ToDatetime(UTC),
    )


async def fetch(visit: Visit, query: Query) -> Found:
    """A page of refunds, newest first."""
    request = pb.ListRefundsRequest(
        channel_no=query.text("channel"), page_size=query.size, page_token=query.token
    )
    if status := query.text("status"):
        wanted: Any = int(status)  # the stubs ask for a type that there is not at run time
        request.statuses.append(wanted)
    for name, field in (("from", request.start_time), ("to", request.end_time)):
        moment = query.moment(name)
        if moment is not None:
            stamp = Timestamp()
            stamp.FromDatetime(moment)
            field.CopyFrom(stamp)
    answer = await visit.ask(calls.LIST_REFUNDS, request)
    return Found([row_of(one) for one in answer.refunds], answer.next_page_token)


LISTING: Final = Listing(
    name="refunds",
    path=PATH,
    title=_("Refunds"),
    columns=(
        Column("refund_id", _("Refund"), lambda row: row.refund_id, "code", small=False),
        Column("order_id", _("Order"), lambda row: row.order_id, "code", lambda row: row.path),
        Column("channel_no", _("Channel"), lambda row: row.channel_no, small=False),
        Column("refund_no", _("Channel's number"), lambda row: row.refund_no, "code", small=False),
        Column("type", _("Kind"), lambda row: row.kind, "status", small=False),
        Column("num", _("Units"), lambda row: row.num, "number", small=False),
        Column("amount", _("Gives back"), lambda row: row.amount_micros, "money"),
        Column("status", _("Status"), lambda row: row.status, "status"),
        Column("notify", _("Notify"), lambda row: row.notify, "status", small=False),
        Column("reason", _("Why"), lambda row: row.reason, small=False),
        Column("create_time", _("Created"), lambda row: row.create_time, "time"),
    ),
    fetch=fetch,
    empty=_("No refund fits. Take a filter away, or widen the time."),
    filters=(
        Filter("channel", _("Channel"), hint="test"),
        Filter(
            "status",
            _("Status"),
            "choice",
            [(str(number), word) for number, (word, _tone) in statuses.REFUND.items()],
        ),
        Filter("from", _("From"), "moment", hint="2026-11-30"),
        Filter("to", _("To"), "moment"),
    ),
    link=lambda row: row.path,
)

PAGES: Final = listing_pages(LISTING)
NAVIGATION: Final = (Entry(PATH, _("Refunds"), _("Operate"), (calls.LIST_REFUNDS,)),)
