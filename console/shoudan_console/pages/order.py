"""One order whole: its timeline over all services, its money, deliveries, refunds and notifies."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

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
TRADES_MAX: Final = 20  # trades whose postings are looked up for one page
PARTS_MAX: Final = 200  # deliveries shown; an order of more has them in the list of deliveries
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


async def show(visit: Visit) -> Response:
    """The page; without the order service there is none, without the others their parts say so."""
    order_id = number_in(visit, "order_id")
    order = (await visit.ask(calls.GET_ORDER, pb.GetOrderRequest(order_id=order_id))).order
    panels = await visit.panels(
        life=_life(visit, order_id),
        money=_money(visit, order),
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
        parts_max=PARTS_MAX,
        may_resend=visit.may(calls.RESEND_NOTIFIES),
        now=now(),
    )


async def _life(visit: Visit, order_id: int) -> Picture:
    answer = await visit.ask(calls.GET_LIFECYCLE, pb.GetLifecycleRequest(order_id=order_id))
    return picture(answer.moments)


async def _money(visit: Visit, order: Any) -> Sequence[Any]:
    """Every posting of the order's trades, oldest first."""
    order_id = order.state.order_id
    numbers = [str(order_id), f"r{order_id}"]
    numbers += [str(one.refund_id) for one in order.refunds]
    numbers += [str(one.delivery_id) for one in order.deliveries]

    async def of(trade_no: str) -> Sequence[Any]:
        request = ledger_pb.ListRecordsRequest(trade_no=trade_no, page_size=100)
        return (await visit.ask(calls.LIST_RECORDS, request)).records

    found = await asyncio.gather(*map(of, numbers[:TRADES_MAX]))
    return sorted((one for part in found for one in part), key=lambda one: one.record_id)


async def _attempts(visit: Visit, order_id: int) -> Sequence[Any]:
    request = delivery_pb.ListDeliveriesRequest(order_id=str(order_id), page_size=PARTS_MAX)
    return (await visit.ask(calls.LIST_DELIVERIES, request)).deliveries


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
