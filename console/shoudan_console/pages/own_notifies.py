"""What a partner is sent: notifies that were given up, its endpoints, and what they were sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from starlette.responses import Response

from shoudan.order.v1 import channel_service_pb2 as pb
from shoudan.order.v1 import endpoint_service_pb2 as endpoint_pb
from shoudan_console import own
from shoudan_console.lists import Action, Column, Filter, Found, Listing, Query
from shoudan_console.page import Entry, Page, listing_pages
from shoudan_console.pages.own_orders import ONE
from shoudan_console.pages.partners import sent_to
from shoudan_console.values import Status, moment_of
from shoudan_console.values import mark as _
from shoudan_console.visits import Missing, Visit

GIVEN_UP: Final = "/own/notifies"
ENDPOINTS: Final = "/own/endpoints"
SENT: Final = "/own/sent"
PAGE_MAX: Final = 100
NUMBER_MAX: Final = 64
REASON_MAX: Final = 256
DEAD: Final = Status(_("Given up"), "bad")


@dataclass(frozen=True, slots=True)
class Row:
    """A notify that was given up."""

    path: str
    channel: str
    request_no: str
    refund_no: str
    url: str
    count: int
    create_time: datetime | None


async def fetch(visit: Visit, query: Query) -> Found:
    """A page of those given up, oldest first."""
    channel = own.channel_of(visit)
    request = pb.ListChannelNotifiesRequest(
        channel_no=channel, page_size=min(query.size, PAGE_MAX), page_token=query.token
    )
    answer = await visit.ask(own.LIST_NOTIFIES, request)
    rows = [
        Row(
            own.address(visit, ONE, no=one.request_no),
            channel,
            one.request_no,
            one.refund_no,
            one.notify_url,
            one.notify_count,
            moment_of(one.create_time),
        )
        for one in answer.notifies
    ]
    return Found(rows, answer.next_page_token)


def _key(row: Row) -> Mapping[str, str]:
    return {"channel": row.channel, "no": row.request_no, "refund_no": row.refund_no}


LISTING: Final = Listing(
    name="own-notifies",
    path=GIVEN_UP,
    title=_("Notifies not delivered"),
    intro=_(
        "Each was tried as often as the document says. Mend your endpoint, then have them sent again."
    ),
    columns=(
        Column("no", _("My number"), lambda row: row.request_no, "code", lambda row: row.path),
        Column("refund", _("Refund"), lambda row: row.refund_no, "code"),
        Column("url", _("Where to"), lambda row: row.url, small=False),
        Column("count", _("Attempts"), lambda row: row.count, "number"),
        Column("create_time", _("Created"), lambda row: row.create_time, "time", small=False),
    ),
    fetch=fetch,
    empty=_("All notifies were acknowledged, or are still on their way."),
    filters=(own.CHANNEL,),
    link=lambda row: row.path,
    actions=(Action(_("Send again"), f"{ONE}/resend", _key, own.RESEND_NOTIFY),),
)


@dataclass(frozen=True, slots=True)
class Sent:
    """One thing an endpoint was sent."""

    channel: str
    endpoint: str
    notify_id: int
    event: str
    status: Status
    tries: str
    answer: str
    create_time: datetime | None
    end_time: datetime | None


def _sent_status(one: Any) -> Status:
    if one.given_up:
        return DEAD
    ended = moment_of(one.end_time) is not None
    return Status(_("Acknowledged"), "good") if ended else Status(_("On its way"), "busy")


async def fetch_sent(visit: Visit, query: Query) -> Found:
    """A page of what an endpoint was sent."""
    channel, endpoint = own.channel_of(visit), query.text("endpoint")[:NUMBER_MAX]
    if not endpoint:
        return Found(())
    request = endpoint_pb.ListEndpointNotifiesRequest(
        channel_no=channel,
        endpoint_no=endpoint,
        given_up=query.text("only") == "given-up",
        page_size=min(query.size, PAGE_MAX),
        page_token=query.token,
    )
    answer = await visit.ask(own.LIST_SENT, request)
    rows = [
        Sent(
            channel,
            endpoint,
            one.notify_id,
            one.event,
            _sent_status(one),
            f"{one.tries}/{one.tries_max}",
            f"{one.http_status or ''} {one.answer}".strip(),
            moment_of(one.create_time),
            moment_of(one.end_time),
        )
        for one in answer.notifies
    ]
    return Found(rows, answer.next_page_token)


def _again(row: Sent) -> Mapping[str, str] | None:
    if row.status != DEAD:
        return None
    given = {"channel": row.channel, "endpoint": row.endpoint, "do": "resend"}
    return {**given, "notify_id": str(row.notify_id)}


SENT_LISTING: Final = Listing(
    name="own-sent",
    path=SENT,
    title=_("What an endpoint was sent"),
    columns=(
        Column("event", _("Event"), lambda row: row.event, "code"),
        Column("status", _("Status"), lambda row: row.status, "status"),
        Column("tries", _("Attempts"), lambda row: row.tries),
        Column("answer", _("Its answer"), lambda row: row.answer, small=False),
        Column("create_time", _("Created"), lambda row: row.create_time, "time"),
        Column("end_time", _("Ended"), lambda row: row.end_time, "time", small=False),
    ),
    fetch=fetch_sent,
    empty=_("Nothing yet, or no endpoint is named above. Your endpoints have their numbers."),
    filters=(
        own.CHANNEL,
        Filter("endpoint", _("Endpoint")),
        Filter("only", _("Only"), "choice", (("given-up", _("Given up")),)),
    ),
    actions=(Action(_("Send again"), ENDPOINTS, _again, own.RESEND_SENT),),
)


async def show(visit: Visit, tested: Any = None, problem: str = "") -> Response:
    """The endpoints of a channel and how they do."""
    channel = own.channel_of(visit)
    asked = endpoint_pb.ListEndpointsRequest(channel_no=channel)
    found = (await visit.ask(own.LIST_ENDPOINTS, asked)).endpoints
    return visit.render(
        "own_endpoints.html",
        400 if problem else 200,
        channel=channel,
        rows=[(one, sent_to(one)) for one in found],
        tested=tested,
        problem=problem,
    )


async def act(visit: Visit) -> Response:
    """Pause, resume or test an endpoint, or send again what it has not acknowledged."""
    form, channel = visit.form, own.channel_of(visit)
    key: dict[str, Any] = {
        "channel_no": channel,
        "endpoint_no": form.get("endpoint", "")[:NUMBER_MAX],
    }
    reason = form.get("reason", "").strip()
    match form.get("do"):
        case "test":
            asked = endpoint_pb.TestEndpointRequest(**key)
            return await show(visit, await visit.ask(own.TEST_ENDPOINT, asked))
        case "pause" | "resume" as do:
            if do == "pause" and not 0 < len(reason) <= REASON_MAX:
                return await show(visit, problem=_("Say why, in at most 256 characters."))
            state = endpoint_pb.SetEndpointStateRequest(
                **key, paused=do == "pause", reason=reason, by=visit.known.operator
            )
            await visit.ask(own.SET_ENDPOINT, state)
        case "resend":
            given = form.get("notify_id", "")
            ids = [int(given)] if given.isascii() and given.isdigit() and len(given) < 20 else []
            again = endpoint_pb.ResendEndpointNotifiesRequest(
                **key, notify_ids=ids, by=visit.known.operator
            )
            await visit.ask(own.RESEND_SENT, again)
        case _:
            raise Missing
    return visit.redirect(own.address(visit, ENDPOINTS, done="yes"))


PAGES: Final = (
    *listing_pages(LISTING, "partner"),
    *listing_pages(SENT_LISTING, "partner"),
    Page(ENDPOINTS, show, act, whose="partner"),
)
NAVIGATION: Final = (
    Entry(GIVEN_UP, _("Notifies not delivered"), _("My business"), whose="partner"),
    Entry(ENDPOINTS, _("My endpoints"), _("My access"), whose="partner"),
)
