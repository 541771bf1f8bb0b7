"""The first page: how the day goes, what waits for a person, and which services serve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.responses import Response

from shoudan.core.v1 import work_service_pb2 as work_pb
from shoudan.order.v1 import audit_service_pb2 as audit_pb
from shoudan.order.v1 import order_service_pb2 as order_pb
from shoudan.pay.v1 import ledger_service_pb2 as ledger_pb
from shoudan_console import calls, values
from shoudan_console.lists import today
from shoudan_console.page import Entry, Page
from shoudan_console.pages.orders import row_of
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit

COUNTED_MAX: Final = 1_000
ACCOUNTS: Final = 50
NEWEST: Final = 10
WORK: Final = ("order", "pay", "erp_ingest")
DOWN: Final = "down_channel"


@dataclass(frozen=True, slots=True)
class Day:
    """What ended today: counts and sums in micro-yuan."""

    orders: int
    sold_micros: int
    profit_micros: int


@dataclass(frozen=True, slots=True)
class Counted:
    """How many there are; `more`: at least so many."""

    count: int
    more: bool = False
    oldest: datetime | None = None

    def __str__(self) -> str:
        return f"{self.count}+" if self.more else str(self.count)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How the newest orders of the day stand."""

    succeeded: int
    failed: int
    running: int
    more: bool

    @property
    def total(self) -> int:
        return self.succeeded + self.failed + self.running

    @property
    def rate(self) -> str:
        """Of those that have ended, how many succeeded."""
        return values.percent(self.succeeded, self.succeeded + self.failed)


async def show(visit: Visit) -> Response:
    """All panels at once; each waits for its own service alone."""
    panels = await visit.panels(
        outcomes=_outcomes(visit),
        sums=_sums(visit),
        dead=_dead(visit),
        balances=_balances(visit),
        newest=_newest(visit),
        health=visit.site.backend.health(),
        **{f"work_{name}": _work(visit, name) for name in WORK},
    )
    template = "overview_live.html" if visit.fragment else "overview.html"
    return visit.render(template, panels=panels, work=WORK, now=datetime.now(UTC))


def _since() -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(today())
    return stamp


async def _outcomes(visit: Visit) -> Outcomes:
    request = order_pb.ListOrdersRequest(start_time=_since(), page_size=COUNTED_MAX)
    answer = await visit.ask(calls.LIST_ORDERS, request)
    stands: Sequence[int] = [one.state.status for one in answer.orders]
    good = sum(one in {0, 91} for one in stands)
    bad = stands.count(90)
    return Outcomes(good, bad, len(stands) - good - bad, bool(answer.next_page_token))


async def _sums(visit: Visit) -> Day:
    """What was sold today, by the report of channels."""
    end = Timestamp()
    end.FromDatetime(datetime.now(UTC))
    request = audit_pb.ReportRequest(
        kind=audit_pb.ReportRequest.KIND_DOWN_CHANNEL, start_time=_since(), end_time=end
    )
    call_s = visit.site.settings.call_s
    lines = [
        one async for one in visit.site.backend.stream(calls.REPORT, request, visit.caller, call_s)
    ]

    def total(name: str) -> int:
        return sum(one.sums_micros.get(name, 0) for one in lines)

    return Day(
        sum(one.count for one in lines), total("success_sell_amount_micros"), total("profit_micros")
    )


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
    request = order_pb.ListOrdersRequest(start_time=_since(), page_size=NEWEST)
    return [row_of(one) for one in (await visit.ask(calls.LIST_ORDERS, request)).orders]


PAGES: Final = (Page("/", show),)
NAVIGATION: Final = (Entry("/", _("Overview"), _("Operate")),)
