"""The first page: how the day goes, what waits for a person, and which services serve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.responses import Response

from shoudan.core.v1 import work_service_pb2 as work_pb
from shoudan.order.v1 import audit_service_pb2 as audit_pb
from shoudan.order.v1 import order_service_pb2 as order_pb
from shoudan.pay.v1 import ledger_service_pb2 as ledger_pb
from shoudan_console import calls
from shoudan_console.day_sums import Sold
from shoudan_console.lists import today
from shoudan_console.live import stream
from shoudan_console.page import Entry, Page
from shoudan_console.pages.orders import row_of
from shoudan_console.surveys import survey
from shoudan_console.system_time import now
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit

COUNTED_MAX: Final = 1_000
ACCOUNTS: Final = 50
NEWEST: Final = 10
EVERY_S: Final = 10.0
WORK: Final = ("order", "pay", "erp_ingest")
DOWN: Final = "down_channel"


@dataclass(frozen=True, slots=True)
class Counted:
    """How many there are; `more`: at least so many."""

    count: int
    more: bool = False
    oldest: datetime | None = None

    def __str__(self) -> str:
        return f"{self.count}+" if self.more else str(self.count)


async def show(visit: Visit) -> Response:
    """All panels at once; each waits for its own service alone."""
    return visit.render("overview.html", **await _values(visit))


async def _values(visit: Visit) -> dict[str, Any]:
    panels = await visit.panels(
        survey=survey(visit, today(), _end_of_day()),
        sums=visit.site.day_sums.look(today(), partial(_moved, visit)),
        dead=_dead(visit),
        balances=_balances(visit),
        newest=_newest(visit),
        health=visit.site.backend.health(),
        **{f"work_{name}": _work(visit, name) for name in WORK},
    )
    return {"panels": panels, "work": WORK, "now": now()}


def _end_of_day() -> datetime:
    """The parts of the picture are half hours of the whole day, so that they stay where they are."""
    return today() + timedelta(days=1)


async def live(visit: Visit) -> Response:
    """The same panels again and again."""
    return stream(visit, _part, EVERY_S)


async def _part(visit: Visit) -> Response:
    return visit.render("overview_live.html", **await _values(visit))


async def _moved(visit: Visit, start: datetime, end: datetime) -> dict[str, Sold]:
    """What moved in between, by channel."""
    first, last = Timestamp(), Timestamp()
    first.FromDatetime(start)
    last.FromDatetime(end)
    request = audit_pb.ReportRequest(
        kind=audit_pb.ReportRequest.KIND_DOWN_CHANNEL, start_time=first, end_time=last
    )
    backend, call_s = visit.site.backend, visit.site.settings.call_s
    found: dict[str, Sold] = {}
    async for line in backend.stream(calls.REPORT, request, visit.caller, call_s):
        sums = line.sums_micros
        found[line.labels["down_channel_no"]] = Sold(
            line.count,
            sums.get("success_sell_amount_micros", 0),
            sums.get("profit_micros", 0),
        )
    return found


async def _work(visit: Visit, service: str) -> Counted:
    request = work_pb.ListOpenWorkRequest(page_size=COUNTED_MAX)
    answer = await visit.ask(calls.list_work(service), request)
    oldest = min((one.since.ToDatetime(UTC) for one in answer.items), default=None)
    return Counted(len(answer.items), bool(answer.next_page_token), oldest)


async def _dead(visit: Visit) -> Counted:
    request = audit_pb.ListDeadNotifiesRequest(page_size=COUNTED_MAX)
    answer = await visit.ask(calls.LIST_DEAD_NOTIFIES, request)
    return Counted(len(answer.notifies), bool(answer.next_page_token))


async def _balances(visit: Visit) -> Sequence[Any]:
    request = ledger_pb.ListAccountsRequest(groups_prefix=DOWN, page_size=ACCOUNTS)
    return (await visit.ask(calls.LIST_ACCOUNTS, request)).accounts


async def _newest(visit: Visit) -> Sequence[Any]:
    request = order_pb.ListOrdersRequest(page_size=NEWEST)
    request.start_time.FromDatetime(today())
    return [row_of(one) for one in (await visit.ask(calls.LIST_ORDERS, request)).orders]


PAGES: Final = (Page("/", show), Page("/live", live))
NAVIGATION: Final = (Entry("/", _("Overview"), _("Operate")),)
