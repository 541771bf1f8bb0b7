"""The events: everything that was published under a number, and publishing a range of them again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.responses import Response

from shoudan.core.v1 import operations_service_pb2 as pb
from shoudan.core.v1.operations_service_pb2_grpc import OperationsServiceStub
from shoudan_console import calls
from shoudan_console.backend import SERVICES, Away, Rpc
from shoudan_console.lists import Column, Filter, Found, Listing, Query, moment_in
from shoudan_console.page import Entry, Page, listing_pages
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit
from shoudan_kit.rpc.refusal import Refused

PATH: Final = "/events"
REPLAY: Final = "/events/replay"
CALLS_MAX: Final = 20  # calls of one replay; a longer range is replayed in parts


@dataclass(frozen=True, slots=True)
class Row:
    """One event."""

    service: str
    time: datetime
    subject: str
    tag: str
    text: str
    trace_id: str


def replay_events(service: str) -> Rpc:
    """ReplayEvents of a service."""
    return Rpc(service, OperationsServiceStub, "shoudan.core.v1.OperationsService/ReplayEvents")


async def fetch(visit: Visit, query: Query) -> Found:
    """All events of one number, oldest first, of all services; a service that is away is named."""
    key = query.text("key")
    if not key:
        return Found(())
    request = pb.GetHistoryRequest(keys=[key])

    async def of(service: str) -> list[Row] | Exception:
        try:
            answer = await visit.ask(calls.get_history(service), request)
        except (Away, Refused) as error:
            return error
        return [_row(service, one) for one in answer.events]

    found = await asyncio.gather(*map(of, SERVICES))
    away = [one.service for one in found if isinstance(one, Away)]
    refused = [one for one in found if isinstance(one, Refused)]
    if len(refused) == len(SERVICES):
        raise refused[0]
    rows = [row for one in found if isinstance(one, list) for row in one]
    return Found(sorted(rows, key=lambda row: row.time), "", away)


def _row(service: str, one: Any) -> Row:
    trace_id = one.trace.split("-")[1] if one.trace.count("-") == 3 else one.trace
    return Row(service, one.time.ToDatetime(UTC), one.subject, one.tag, one.text, trace_id)


LISTING: Final = Listing(
    name="events",
    path=PATH,
    title=_("Events"),
    columns=(
        Column("time", _("Time"), lambda row: row.time, "time"),
        Column("service", _("Service"), lambda row: row.service),
        Column("subject", _("Subject"), lambda row: row.subject, "code", small=False),
        Column("tag", _("Step"), lambda row: row.tag),
        Column("text", _("What happened"), lambda row: row.text),
        Column("trace_id", _("Trace"), lambda row: row.trace_id, "code", small=False),
    ),
    fetch=fetch,
    empty=_("Enter a number: of an order, a delivery, a refund, a trade."),
    filters=(Filter("key", _("Number"), hint="26113000000001"),),
    template="events.html",
    more={"replay": replay_events("order"), "services": SERVICES},
)


async def replay(visit: Visit) -> Response:
    """Publish a range again; consumers drop what they have seen, so a repeat does nothing."""
    form = visit.form
    service, prefix = form.get("service", ""), form.get("prefix", "").strip()[:100]
    begin, end = moment_in(form.get("from", "")), moment_in(form.get("to", ""))
    if service not in SERVICES or begin is None or end is None or end <= begin:
        return visit.redirect(PATH, wrong="range")
    request = pb.ReplayEventsRequest(subject_prefix=prefix)
    for moment, field in ((begin, request.start_time), (end, request.end_time)):
        stamp = Timestamp()
        stamp.FromDatetime(moment)
        field.CopyFrom(stamp)
    count = 0
    for _turn in range(CALLS_MAX):
        answer = await visit.ask(replay_events(service), request)
        count += answer.count
        request.page_token = answer.next_page_token
        if not request.page_token:
            break
    return visit.redirect(PATH, done="replay", key=str(count), more=request.page_token and "yes")


PAGES: Final = (*listing_pages(LISTING), Page(REPLAY, act=replay))
NAVIGATION: Final = (
    Entry(PATH, _("Events"), _("Administer"), tuple(map(calls.get_history, SERVICES))),
)
