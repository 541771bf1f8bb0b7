"""One field for every number: an order's, a channel's, a delivery's, a trade's, an account's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from starlette.responses import Response

from shoudan.delivery.v1 import delivery_service_pb2 as delivery_pb
from shoudan.order.v1 import catalogue_service_pb2 as catalogue_pb
from shoudan.order.v1 import order_service_pb2 as pb
from shoudan.pay.v1 import ledger_service_pb2 as ledger_pb
from shoudan_console import calls
from shoudan_console.lists import days_ago
from shoudan_console.page import Page
from shoudan_console.pages.order import ID_MAX
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit
from shoudan_kit.rpc.refusal import Refused

CHARS_MAX: Final = 100
CHANNELS_MAX: Final = 50  # channels whose own numbers are looked through
ACCOUNT_DIGITS: Final = range(6, 33)


@dataclass(frozen=True, slots=True)
class Hit:
    """Something that has this number, and its page if it has one."""

    what: str
    number: str
    more: str
    path: str = ""


async def show(visit: Visit) -> Response:
    """What has this number; straight to it when it is one thing."""
    wanted = visit.query.get("q", "").strip()[:CHARS_MAX]
    if not wanted:
        return visit.render("search.html", wanted="", hits=(), away=(), account="")
    panels = await visit.panels(
        order=_order(visit, wanted),
        channels=_of_channels(visit, wanted),
        suppliers=_of_suppliers(visit, wanted),
        ledger=_of_ledger(visit, wanted),
    )
    found = dict.fromkeys(hit for one in panels.values() for hit in one.value or ())
    away = sorted({one.away for one in panels.values() if one.away})
    orders = [hit for name in ("order", "channels") for hit in panels[name].value or ()]
    leading = orders or [hit for hit in found if hit.path]  # an order shows its postings, too
    if len(leading) == 1 and not away:
        return visit.redirect(leading[0].path)
    digits = wanted.isascii() and wanted.isdigit() and len(wanted) in ACCOUNT_DIGITS
    account = f"/orders?account={wanted}&from={days_ago(7)}" if digits else ""
    return visit.render("search.html", wanted=wanted, hits=list(found), away=away, account=account)


async def _order(visit: Visit, wanted: str) -> Sequence[Hit]:
    if not (wanted.isascii() and wanted.isdigit() and 0 < int(wanted) <= ID_MAX):
        return ()
    return await _named(visit, pb.GetOrderRequest(order_id=int(wanted)))


async def _named(visit: Visit, request: pb.GetOrderRequest) -> Sequence[Hit]:
    try:
        order = (await visit.ask(calls.GET_ORDER, request)).order
    except Refused as refused:
        if refused.reason.endswith(("ORDER_NOT_FOUND", "INVALID", "INVALID_ARGUMENT")):
            return ()
        raise
    state = order.state
    more = f"{state.channel_no} {state.request_no}"
    return (Hit(_("Order"), str(state.order_id), more, f"/orders/{state.order_id}"),)


async def _of_channels(visit: Visit, wanted: str) -> Sequence[Hit]:
    """A channel's own number of an order: each channel is asked for it."""
    found = await visit.ask(calls.GET_CATALOGUE, catalogue_pb.GetCatalogueRequest())
    numbers = [one.channel_no for one in found.catalogue.down_channels][:CHANNELS_MAX]

    def request(channel_no: str) -> pb.GetOrderRequest:
        return pb.GetOrderRequest(key=pb.OrderKey(channel_no=channel_no, request_no=wanted))

    hits = await asyncio.gather(*(_named(visit, request(one)) for one in numbers))
    return [hit for one in hits for hit in one]


async def _of_suppliers(visit: Visit, wanted: str) -> Sequence[Hit]:
    """A supplier's number of a delivery."""
    request = delivery_pb.ListDeliveriesRequest(up_order_no=wanted, page_size=10)
    answer = await visit.ask(calls.LIST_DELIVERIES, request)
    return [_delivery(one) for one in answer.deliveries]


def _delivery(one: Any) -> Hit:
    return Hit(_("Delivery"), one.key.coop_order_id, one.channel_no)


async def _of_ledger(visit: Visit, wanted: str) -> Sequence[Hit]:
    """A trade's number in the ledger."""
    request = ledger_pb.ListRecordsRequest(trade_no=wanted, page_size=10)
    answer = await visit.ask(calls.LIST_RECORDS, request)
    where = f"/ledger/records?trade={quote(wanted, safe='')}"
    return [
        Hit(_("Posting"), str(one.record_id), one.account_name, where) for one in answer.records
    ]


PAGES: Final = (Page("/search", show),)
