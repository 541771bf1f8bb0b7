"""A partner's price list: what it may buy now, at its own prices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from shoudan.order.v1 import catalogue_service_pb2 as pb
from shoudan_console import own
from shoudan_console.lists import Column, Found, Listing, Query
from shoudan_console.page import Entry, listing_pages
from shoudan_console.values import Status
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit

PATH: Final = "/own/catalogue"
INVOICE: Final = {0: _("Either"), 1: _("Without"), 2: _("With")}


@dataclass(frozen=True, slots=True)
class Row:
    """One product as its channel sees it."""

    product_id: str
    line_id: str
    carrier_no: str
    province_no: str
    city_no: str
    invoice: str
    face_micros: int
    price_micros: int
    service_micros: int
    num_max: int
    stock: Status
    refundable: Status


def row_of(one: Any) -> Row:
    """A product of a price list."""
    return Row(
        str(one.product_id),
        str(one.line_id),
        one.carrier_no,
        one.province_no,
        one.city_no,
        INVOICE.get(one.invoice_type, str(one.invoice_type)),
        one.face_micros,
        one.price_micros,
        one.service_micros,
        one.num_max,
        Status(_("Can be delivered"), "good") if one.in_stock else Status(_("Not now"), "warn"),
        Status(_("Yes"), "good") if one.refundable else Status(_("No"), "idle"),
    )


async def fetch(visit: Visit, query: Query) -> Found:
    """A page by number."""
    request = pb.ListProductsRequest(
        channel_no=own.channel_of(visit), page_size=query.size, page_token=query.token
    )
    answer = await visit.ask(own.LIST_PRODUCTS, request)
    return Found([row_of(one) for one in answer.products if one.on_shelf], answer.next_page_token)


LISTING: Final = Listing(
    name="own-catalogue",
    path=PATH,
    title=_("My price list"),
    columns=(
        Column("product", _("Product"), lambda row: row.product_id, "code"),
        Column("line", _("Line"), lambda row: row.line_id, "code", small=False),
        Column("carrier", _("Carrier"), lambda row: row.carrier_no),
        Column("province", _("Province"), lambda row: row.province_no, small=False),
        Column("city", _("City"), lambda row: row.city_no, small=False),
        Column("face", _("Face"), lambda row: row.face_micros, "money"),
        Column("price", _("I pay"), lambda row: row.price_micros, "money"),
        Column("fee", _("Service fee"), lambda row: row.service_micros, "money", small=False),
        Column("most", _("Most of one order"), lambda row: row.num_max, "number", small=False),
        Column("invoice", _("Invoice"), lambda row: row.invoice, "word", small=False),
        Column("stock", _("Stock"), lambda row: row.stock, "status"),
        Column("refund", _("Refundable"), lambda row: row.refundable, "status", small=False),
    ),
    fetch=fetch,
    empty=_("Nothing is on your shelves yet: ask us."),
    filters=(own.CHANNEL,),
)

PAGES: Final = listing_pages(LISTING, "partner")
NAVIGATION: Final = (Entry(PATH, _("My price list"), _("My business"), whose="partner"),)
