"""A partner's own orders: the list, one order with its timeline, refunds and notifies, and the search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from starlette.responses import Response

from shoudan.order.v1 import channel_service_pb2 as pb
from shoudan_console import own, statuses
from shoudan_console.lists import Column, Filter, Found, Listing, Query
from shoudan_console.page import Entry, Page, listing_pages
from shoudan_console.values import Status, moment_of
from shoudan_console.values import mark as _
from shoudan_console.visits import Missing, Visit

PATH: Final = "/own/orders"
ONE: Final = "/own/order"
SEARCH: Final = "/own/search"
NUMBER_MAX: Final = 64
NOTIFIES_MAX: Final = 100
STATES: Final[dict[str, Any]] = {"0": (0,), "30": (10, 20), "90": (90,), "91": (91,)}


@dataclass(frozen=True, slots=True)
class Row:
    """One order."""

    path: str
    request_no: str
    order_id: str
    status: Status
    carrier: str
    face_micros: int
    num: int
    sell_micros: int
    fee_micros: int
    commission_micros: int
    done_micros: int
    why: str
    create_time: datetime | None
    end_time: datetime | None


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the timeline that a partner sees."""

    time: datetime
    what: str
    detail: str = ""
    status: Status | None = None


def row_of(visit: Visit, one: Any) -> Row:
    """An order as its channel may know it."""
    state = one.state
    return Row(
        own.address(visit, ONE, no=state.request_no),
        state.request_no,
        str(state.order_id),
        statuses.status(own.ORDER, state.status),
        one.carrier_no,
        one.face_micros,
        one.num,
        one.sell_amount_micros,
        one.service_amount_micros,
        one.commission_amount_micros,
        one.success_face_micros,
        f"{state.fail_code} {state.fail_msg}".strip(),
        moment_of(one.create_time),
        moment_of(one.end_time),
    )


async def fetch(visit: Visit, query: Query) -> Found:
    """A page, newest first; a number finds its order whenever it was."""
    start, end = own.period(query)
    request = pb.ListChannelOrdersRequest(
        channel_no=own.channel_of(visit),
        start_time=start,
        end_time=end,
        page_size=query.size,
        page_token=query.token,
        newest_first=True,
        statuses=STATES.get(query.text("status"), ()),
        request_no=query.text("no")[:NUMBER_MAX],
    )
    answer = await visit.ask(own.LIST_ORDERS, request)
    return Found([row_of(visit, one) for one in answer.orders], answer.next_page_token)


LISTING: Final = Listing(
    name="own-orders",
    path=PATH,
    title=_("My orders"),
    intro=_("The last seven days, unless a period is given; one of at most 31 days."),
    columns=(
        Column("no", _("My number"), lambda row: row.request_no, "code", lambda row: row.path),
        Column("order_id", _("Order"), lambda row: row.order_id, "code", small=False),
        Column("status", _("Status"), lambda row: row.status, "status"),
        Column("carrier", _("Carrier"), lambda row: row.carrier, small=False),
        Column("face", _("Face"), lambda row: row.face_micros, "money"),
        Column("num", _("Count"), lambda row: row.num, "number", small=False),
        Column("sell", _("I pay"), lambda row: row.sell_micros, "money"),
        Column("fee", _("Service fee"), lambda row: row.fee_micros, "money", small=False),
        Column("earned", _("Commission"), lambda row: row.commission_micros, "money", small=False),
        Column("done", _("Delivered"), lambda row: row.done_micros, "money", small=False),
        Column("create_time", _("Created"), lambda row: row.create_time, "time", small=False),
        Column("end_time", _("Ended"), lambda row: row.end_time, "time", small=False),
        Column("why", _("Why"), lambda row: row.why, small=False),
    ),
    fetch=fetch,
    empty=_(
        "No order in this period. Choose another one, or place a first order with the sandbox."
    ),
    filters=(
        own.CHANNEL,
        Filter("no", _("My number")),
        Filter(
            "status",
            _("Status"),
            "choice",
            (
                ("30", _("In progress")),
                ("0", _("Succeeded")),
                ("91", _("Partly succeeded")),
                ("90", _("Failed")),
            ),
        ),
        Filter("from", _("From"), "moment"),
        Filter("to", _("To"), "moment"),
    ),
    link=lambda row: row.path,
)


async def show(visit: Visit) -> Response:
    """One order: what it was, how it went, its refunds and its notifies."""
    number, channel = visit.query.get("no", "")[:NUMBER_MAX], own.channel_of(visit)
    if not number:
        raise Missing
    key: dict[str, Any] = {"channel_no": channel, "request_no": number}
    asked = pb.ListChannelOrdersRequest(**key)
    found = (await visit.ask(own.LIST_ORDERS, asked)).orders
    if not found:
        raise Missing
    notifies = pb.ListChannelNotifiesRequest(**key, page_size=NOTIFIES_MAX)
    panels = await visit.panels(
        refunds=visit.ask(own.LIST_REFUNDS, pb.ListChannelRefundsRequest(**key)),
        notifies=visit.ask(own.LIST_NOTIFIES, notifies),
    )
    row = row_of(visit, found[0])
    return visit.render(
        "own_order.html",
        row=row,
        channel=channel,
        panels=panels,
        steps=_steps(row, panels),
        statuses=statuses,
        notify_status=notify_status,
    )


def notify_status(one: Any) -> Status:
    """How a notify stands."""
    if one.given_up:
        return Status(_("Given up"), "bad")
    return statuses.status(statuses.NOTIFY, one.notify_status)


def _steps(row: Row, panels: Any) -> Sequence[Step]:
    """What happened, oldest first, as far as the partner took part in it."""
    found: list[Step] = []
    if row.create_time:
        found.append(Step(row.create_time, _("The order was taken")))
    if row.end_time:
        found.append(Step(row.end_time, _("The order ended"), row.why, row.status))
    if panels["refunds"].there:
        for one in panels["refunds"].value.refunds:
            time, status = moment_of(one.create_time), statuses.status(statuses.REFUND, one.status)
            if time:
                found.append(Step(time, _("A refund was asked for"), one.request.refund_no, status))
    if panels["notifies"].there:
        for one in panels["notifies"].value.notifies:
            for attempt in one.attempts:
                time = moment_of(attempt.create_time)
                words = f"HTTP {attempt.http_status or '–'} {attempt.answer} {attempt.took_ms} ms"
                if time:
                    found.append(Step(time, _("We notified you"), words))
    return sorted(found, key=lambda one: one.time)


async def resend(visit: Visit) -> Response:
    """Send the notify of the order's end, or of a refund's, once more."""
    form = visit.form
    request = pb.ResendChannelNotifyRequest(
        channel_no=own.channel_of(visit),
        request_no=form.get("no", "")[:NUMBER_MAX],
        refund_no=form.get("refund_no", "")[:NUMBER_MAX],
    )
    answer = await visit.ask(own.RESEND_NOTIFY, request)
    done = "resent" if answer.resent else "not-given-up"
    return visit.redirect(own.address(visit, ONE, no=request.request_no, done=done))


async def search(visit: Visit) -> Response:
    """The order with this number of the partner."""
    number = visit.query.get("q", "").strip()[:NUMBER_MAX]
    return visit.redirect(own.address(visit, PATH, no=number) if number else PATH)


PAGES: Final = (
    *listing_pages(LISTING, "partner"),
    Page(ONE, show, whose="partner"),
    Page(f"{ONE}/resend", act=resend, whose="partner"),
    Page(SEARCH, search, whose="partner"),
)
NAVIGATION: Final = (Entry(PATH, _("My orders"), _("My business"), whose="partner"),)
