"""The events: everything that was published under a number, and publishing a range of them again."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.responses import Response

from shoudan.core.v1 import operations_service_pb2 as pb
from shoudan.core.v1.operations_service_pb2_grpc import OperationsServiceStub
from shoudan_console import calls
from shoudan_console.backend import SERVICES, Away, Rpc
from shoudan_console.lists import Column, Filter, Found, Listing, Query, moment_in
from shoudan_console.live import stream
from shoudan_console.page import Entry, Page, listing_pages
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit
from shoudan_kit.rpc.refusal import Refused

PATH: Final = "/events"
REPLAY: Final = "/events/replay"
LIVE: Final = "/events/live"
FEED: Final = "/events/feed"
EVERY_S: Final = 1.0
BEAT_MAX: Final = 100  # events of a service in a beat; more are left out, and that is said
BUFFER_MAX: Final = 200  # rows of a live page
PREFIX_MAX: Final = 100

T = TypeVar("T")
CALLS_MAX: Final = 20  # calls of one replay; a longer range is replayed in parts


@dataclass(frozen=True, slots=True)
class Row:
    """One event."""

    service: str
    time: datetime
    subject: str
    key: str
    tag: str
    text: str
    trace_id: str
    event_id: int


def list_events(service: str) -> Rpc:
    """ListEvents of a service."""
    return Rpc(service, OperationsServiceStub, "shoudan.core.v1.OperationsService/ListEvents")


def replay_events(service: str) -> Rpc:
    """ReplayEvents of a service."""
    return Rpc(service, OperationsServiceStub, "shoudan.core.v1.OperationsService/ReplayEvents")


async def fetch(visit: Visit, query: Query) -> Found:
    """All events of one number, oldest first, else the newest of all. A service that is away is named."""
    key = query.text("key")
    return await (_newest(visit, query) if not key else _of_number(visit, key))


async def _of_number(visit: Visit, key: str) -> Found:
    request = pb.GetHistoryRequest(keys=[key])

    async def of(service: str) -> list[Row]:
        answer = await visit.ask(calls.get_history(service), request)
        return [row_of(service, one) for one in answer.events]

    found, away = await _everywhere(SERVICES, of)
    rows = [row for rows in found.values() for row in rows]
    return Found(sorted(rows, key=lambda row: row.time), "", away)


async def _newest(visit: Visit, query: Query) -> Found:
    """A page of the services' events, put together by time; its token says where each service goes on."""
    chosen = query.text("service")
    wanted = [chosen] if chosen else list(SERVICES)
    tokens = token_in(query.token) if query.token else dict.fromkeys(wanted, "")

    async def of(service: str) -> tuple[list[Row], str]:
        request = pb.ListEventsRequest(
            subject_prefix=query.text("subject")[:PREFIX_MAX],
            page_size=query.size,
            page_token=tokens[service],
        )
        answer = await visit.ask(list_events(service), request)
        rows = [row_of(service, one) for one in answer.events]
        return rows, answer.next_page_token

    found, away = await _everywhere([one for one in wanted if one in tokens], of)
    return Found(*merged(found, query.size), away)


def merged(found: Mapping[str, tuple[Sequence[Row], str]], size: int) -> tuple[Sequence[Row], str]:
    """The newest of all, and the token behind them: for each service where its next page begins."""
    shown, at = list[Row](), dict.fromkeys(found, 0)
    while len(shown) < size:
        heads = {
            name: rows[at[name]] for name, (rows, _next) in found.items() if at[name] < len(rows)
        }
        if not heads:
            break
        newest = max(heads, key=lambda name: heads[name].time)
        shown.append(heads[newest])
        at[newest] += 1
    onward: dict[str, str] = {}
    for service, (rows, token) in found.items():
        if at[service] == len(rows):
            onward |= {service: token} if token else {}
        else:  # the next page begins before this event
            before = rows[at[service] - 1].event_id if at[service] else rows[0].event_id + 1
            onward[service] = str(before)
    return shown, ",".join(f"{service}:{token}" for service, token in onward.items())


def token_in(text: str) -> dict[str, str]:
    """Where each service goes on; what is no token of ours is left out."""
    parts = (one.partition(":") for one in text.split(",")[: len(SERVICES)])
    return {name: token for name, _colon, token in parts if name in SERVICES and token.isdigit()}


async def _everywhere(
    services: Sequence[str], of: Callable[[str], Awaitable[T]]
) -> tuple[dict[str, T], list[str]]:
    """What each service answers, and those that are away. Raises Refused when all refuse."""

    async def one(service: str) -> T | Exception:
        try:
            return await of(service)
        except (Away, Refused) as error:
            return error

    answers = dict(zip(services, await asyncio.gather(*map(one, services)), strict=True))
    refused = [one for one in answers.values() if isinstance(one, Refused)]
    if refused and len(refused) == len(answers):
        raise refused[0]
    away = [name for name, one in answers.items() if isinstance(one, Away)]
    there = {name: one for name, one in answers.items() if not isinstance(one, Exception)}
    return there, away


def row_of(service: str, one: Any) -> Row:
    """An event as its service gives it."""
    trace_id = one.trace.split("-")[1] if one.trace.count("-") == 3 else one.trace
    when = one.time.ToDatetime(UTC)
    return Row(service, when, one.subject, one.key, one.tag, one.text, trace_id, one.event_id)


LISTING: Final = Listing(
    name="events",
    path=PATH,
    title=_("Events"),
    columns=(
        Column("time", _("Time"), lambda row: row.time, "time"),
        Column("service", _("Service"), lambda row: row.service),
        Column("subject", _("Subject"), lambda row: row.subject, "code", small=False),
        Column("key", _("Number"), lambda row: row.key, "code", lambda row: f"/search?q={row.key}"),
        Column("tag", _("Step"), lambda row: row.tag),
        Column("text", _("What happened"), lambda row: row.text),
        Column("trace_id", _("Trace"), lambda row: row.trace_id, "code", small=False),
    ),
    fetch=fetch,
    intro=_(
        "Newest first; of one number oldest first: of an order, a delivery, a refund, a trade."
    ),
    empty=_("No event fits. Every change of an order, a delivery, a refund or a trade leaves one."),
    filters=(
        Filter("key", _("Number"), hint="26113000000001"),
        Filter("service", _("Service"), "choice", tuple((name, name) for name in SERVICES)),
        Filter("subject", _("Subject begins with"), hint="shoudan.events.order."),
    ),
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
    for moment, place in ((begin, request.start_time), (end, request.end_time)):
        stamp = Timestamp()
        stamp.FromDatetime(moment)
        place.CopyFrom(stamp)
    count = 0
    for _turn in range(CALLS_MAX):
        answer = await visit.ask(replay_events(service), request)
        count += answer.count
        request.page_token = answer.next_page_token
        if not request.page_token:
            break
    return visit.redirect(PATH, done="replay", key=str(count), more=request.page_token and "yes")


@dataclass
class Feed:
    """What one live page has shown: a bounded buffer, whatever happens."""

    services: Sequence[str]
    prefix: str
    rows: deque[Row] = field(default_factory=lambda: deque[Row](maxlen=BUFFER_MAX))
    last: dict[str, int] = field(default_factory=dict[str, int])
    left_out: int = 0
    away: list[str] = field(default_factory=list[str])

    async def part(self, visit: Visit) -> Response | None:
        """The rows with what is new; None when nothing is."""

        async def of(service: str) -> Sequence[Row]:
            request = pb.ListEventsRequest(subject_prefix=self.prefix, page_size=BEAT_MAX)
            answer = await visit.ask(list_events(service), request)
            return [row_of(service, one) for one in answer.events]

        found, away = await _everywhere(self.services, of)
        fresh = [row for name, rows in found.items() for row in self._fresh(name, rows)]
        changed, self.away = bool(fresh) or away != self.away, away
        self.rows.extend(sorted(fresh, key=lambda row: row.time))
        return visit.render("events_feed.html", feed=self, max=BUFFER_MAX) if changed else None

    def _fresh(self, service: str, rows: Sequence[Row]) -> Sequence[Row]:
        """Those that were not there at the look before; the first look shows the newest few."""
        seen = self.last.get(service)
        self.last[service] = max([seen or 0, *(row.event_id for row in rows)])
        if seen is None:
            return rows[: BUFFER_MAX // len(SERVICES)]
        fresh = [row for row in rows if row.event_id > seen]
        self.left_out += len(fresh) == BEAT_MAX
        return fresh


def _feed(visit: Visit) -> Feed:
    service, prefix = visit.query.get("service", ""), visit.query.get("subject", "").strip()
    return Feed([service] if service in SERVICES else SERVICES, prefix[:PREFIX_MAX])


async def live(visit: Visit) -> Response:
    """The events as they happen."""
    feed = _feed(visit)
    await feed.part(visit)
    return visit.render(
        "events_live.html",
        feed=feed,
        max=BUFFER_MAX,
        services=SERVICES,
        query=visit.request.url.query,
    )


async def send(visit: Visit) -> Response:
    """The stream of a live page."""
    return stream(visit, _feed(visit).part, EVERY_S)


PAGES: Final = (
    *listing_pages(LISTING),
    Page(REPLAY, act=replay),
    Page(LIVE, live),
    Page(FEED, send),
)
NAVIGATION: Final = (
    Entry(PATH, _("Events"), _("Administer"), tuple(map(calls.get_history, SERVICES))),
)
