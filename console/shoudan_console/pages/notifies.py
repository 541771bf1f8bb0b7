"""Notifies that were given up: what the partner answered, and sending them again, one or all of a channel."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from shoudan.order.v1 import audit_service_pb2 as pb
from shoudan_console import calls
from shoudan_console.lists import Action, Column, Filter, Found, Listing, Query
from shoudan_console.page import Entry, Page, listing_pages
from shoudan_console.values import mark as _
from shoudan_console.visits import Missing, Visit

PATH: Final = "/notifies"
RESEND: Final = "/notifies/resend"
ID_END: Final = 2**63
ITEMS_MAX: Final = 200  # as many as a page has


async def fetch(visit: Visit, query: Query) -> Found:
    """A page of dead notifies, oldest first."""
    request = pb.ListDeadNotifiesRequest(
        channel_no=query.text("channel"), page_size=query.size, page_token=query.token
    )
    answer = await visit.ask(calls.LIST_DEAD_NOTIFIES, request)
    return Found(answer.notifies, answer.next_page_token)


def _order(row: Any) -> str:
    return f"/orders/{row.order_id}"


LISTING: Final = Listing(
    name="notifies",
    path=PATH,
    title=_("Dead notifies"),
    intro=_(
        "Messages that a partner did not acknowledge and that are not sent any more by themselves."
    ),
    columns=(
        Column("notify_id", _("Notify"), lambda row: row.notify_id, "code"),
        Column("order_id", _("Order"), lambda row: row.order_id, "code", _order),
        Column("count", _("Attempts"), lambda row: row.notify_count, "number"),
        Column("answer", _("Last answer"), lambda row: row.notify_msg),
        Column("url", _("Where to"), lambda row: row.notify_url, small=False),
    ),
    fetch=fetch,
    empty=_("Every notify was acknowledged, or is still being sent."),
    filters=(Filter("channel", _("Channel"), hint="test"),),
    link=_order,
    actions=(
        Action(
            _("Resend"),
            RESEND,
            lambda row: {"notify_id": str(row.notify_id)},
            calls.RESEND_NOTIFIES,
        ),
    ),
    template="notifies.html",
)


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text[:20]) < ID_END


async def resend(visit: Visit) -> Response:
    """Make one notify due, those that are ticked, or all dead ones of a channel. Repeats change nothing."""
    text, channel = visit.form.get("notify_id", ""), visit.form.get("channel", "").strip()
    request = pb.ResendNotifiesRequest(by=visit.known.operator)
    ticked = [int(one) for one in visit.form.getlist("item")[:ITEMS_MAX] if _number(one)]
    if ticked:
        request.notify_ids.extend(ticked)
    elif _number(text):
        request.notify_ids.append(int(text))
    elif channel:
        request.channel_no = channel
    else:
        raise Missing
    answer = await visit.ask(calls.RESEND_NOTIFIES, request)
    return visit.redirect(PATH, done="resent", key=str(answer.count))


PAGES: Final = (*listing_pages(LISTING), Page(RESEND, act=resend))
NAVIGATION: Final = (Entry(PATH, _("Notifies"), _("Operate"), (calls.LIST_DEAD_NOTIFIES,)),)
