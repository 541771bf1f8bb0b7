"""One order whole: its timeline over all services, its money, deliveries, refunds and notifies."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import Response

from shoudan.core.v1 import work_service_pb2 as work_pb
from shoudan.delivery.v1 import delivery_service_pb2 as delivery_pb
from shoudan.order.v1 import audit_service_pb2 as audit_pb
from shoudan.order.v1 import order_service_pb2 as pb
from shoudan.pay.v1 import ledger_service_pb2 as ledger_pb
from shoudan_console import calls, statuses
from shoudan_console.page import Page
from shoudan_console.pages.orders import masked
from shoudan_console.system_time import now
from shoudan_console.timeline import Picture, picture
from shoudan_console.values import mark as _
from shoudan_console.visits import Missing, Visit

ID_MAX: Final = 2**63 - 1
# Of an order with many parts or a long life the page shows windows, each with links to those beside it.
PARTS_MAX: Final = 20  # deliveries, with their postings
MOMENTS_MAX: Final = 100  # of the timeline
REFUNDS_MAX: Final = 20  # whose postings are looked up
PART, SENT, MOMENTS = "part", "sent", "moments"  # where the windows are, in the address
CHANGES: Final = {
    1: _("Add"),
    2: _("Drawing"),
    3: _("Deduct"),
    4: _("Refund"),
    5: _("Trade flat"),
    6: _("Balance flat"),
}
TRADES: Final = {
    1: _("Trade"),
    2: _("Service fee"),
    3: _("Commission"),
    4: _("Reversal"),
    5: _("Flat"),
}


def number_in(visit: Visit, name: str) -> int:
    """A number of the address. Raises Missing for what is none."""
    text: str = visit.request.path_params[name]
    if not text.isascii() or not text.isdigit() or int(text) > ID_MAX:
        raise Missing
    return int(text)


@dataclass(frozen=True, slots=True)
class Window:
    """Some of the deliveries: the first is number `begin` of `count`; the addresses of those beside them."""

    rows: Sequence[Any]
    begin: int
    count: int
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Sends:
    """Some of what the suppliers were sent, newest first, and the token of what is older."""

    rows: Sequence[Any]
    older: str


def window(visit: Visit, deliveries: Sequence[Any]) -> Window:
    """The deliveries from the one on that the address names, from the first on without one."""
    asked = visit.query.get(PART, "")
    first = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 20 else 0
    numbers = [one.delivery_id for one in deliveries]
    begin = min(bisect_left(numbers, first), max(0, len(numbers) - 1))
    end = begin + PARTS_MAX
    before = "" if not begin else beside(visit, PART, str(numbers[max(0, begin - PARTS_MAX)]))
    after = beside(visit, PART, str(numbers[end])) if end < len(numbers) else ""
    return Window(deliveries[begin:end], begin + 1, len(numbers), before, after)


def beside(visit: Visit, name: str, value: str) -> str:
    """This page with one of its windows elsewhere; empty: at its beginning."""
    kept = {one: visit.query[one] for one in (PART, SENT, MOMENTS) if one in visit.query}
    asked = {**kept, name: value} if value else {k: v for k, v in kept.items() if k != name}
    return f"{visit.path}?{urlencode(asked)}#{name}" if asked else f"{visit.path}#{name}"


async def show(visit: Visit) -> Response:
    """The page; without the order service there is none, without the others their parts say so."""
    order_id = number_in(visit, "order_id")
    order = (await visit.ask(calls.GET_ORDER, pb.GetOrderRequest(order_id=order_id))).order
    parts = window(visit, sorted(order.deliveries, key=attrgetter("delivery_id")))
    panels = await visit.panels(
        life=_life(visit, order_id),
        money=_money(visit, order, parts),
        attempts=_attempts(visit, order_id),
        work=_work(visit, order_id),
    )
    return visit.render(
        "order.html",
        order=order,
        account=masked(order.request.recharge_account),
        stands=statuses.status(statuses.ORDER, order.state.status),
        statuses=statuses,
        panels=panels,
        changes=CHANGES,
        trades=TRADES,
        parts=parts,
        beside=partial(beside, visit),
        may_resend=visit.may(calls.RESEND_NOTIFIES),
        now=now(),
    )


async def _life(visit: Visit, order_id: int) -> Picture:
    token = visit.query.get(MOMENTS, "")
    request = pb.GetLifecycleRequest(order_id=order_id, page_size=MOMENTS_MAX, page_token=token)
    answer = await visit.ask(calls.GET_LIFECYCLE, request)
    return picture(answer.moments, answer.next_page_token)


async def _money(visit: Visit, order: Any, parts: Window) -> Sequence[Any]:
    """Every posting of the order's own trades and of the deliveries shown, oldest first."""
    order_id = order.state.order_id
    numbers = [str(order_id), f"r{order_id}"]
    numbers += [str(one.refund_id) for one in order.refunds[:REFUNDS_MAX]]
    numbers += [str(one.delivery_id) for one in parts.rows]

    async def of(trade_no: str) -> Sequence[Any]:
        request = ledger_pb.ListRecordsRequest(trade_no=trade_no, page_size=100)
        return (await visit.ask(calls.LIST_RECORDS, request)).records

    found = await asyncio.gather(*map(of, numbers))
    return sorted((one for part in found for one in part), key=lambda one: one.record_id)


async def _attempts(visit: Visit, order_id: int) -> Sends:
    token = visit.query.get(SENT, "")
    request = delivery_pb.ListDeliveriesRequest(
        order_id=str(order_id), page_size=PARTS_MAX, page_token=token
    )
    answer = await visit.ask(calls.LIST_DELIVERIES, request)
    return Sends(answer.deliveries, answer.next_page_token)


async def _work(visit: Visit, order_id: int) -> Sequence[Any]:
    """What of this order waits for a person."""
    request = work_pb.ListOpenWorkRequest(page_size=1_000)
    answer = await visit.ask(calls.list_work("order"), request)
    word = f"order {order_id}"
    return [one for one in answer.items if one.evidence.split(";")[0] == word]


async def resend(visit: Visit) -> Response:
    """Make a notify of the order due again."""
    order_id = number_in(visit, "order_id")
    text = visit.form.get("notify_id", "")
    if not text.isascii() or not text.isdigit():
        raise Missing
    request = audit_pb.ResendNotifiesRequest(notify_ids=[int(text)])
    await visit.ask(calls.RESEND_NOTIFIES, request)
    return visit.redirect(f"/orders/{order_id}", done="resent")


PAGES: Final = (
    Page("/orders/{order_id}", show),
    Page("/orders/{order_id}/resend", act=resend),
)
