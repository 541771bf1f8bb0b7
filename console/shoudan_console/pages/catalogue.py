"""The catalogue as it is in force: lines, what is sold with its margin, what suppliers offer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from shoudan.order.v1 import catalogue_service_pb2 as pb
from shoudan_console import calls
from shoudan_console.lists import Column, Filter, Found, Listing, Query
from shoudan_console.page import Entry, listing_pages
from shoudan_console.values import Status, ppm_percent
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit

LINES: Final = "/catalogue/lines"
PRODUCTS: Final = "/catalogue/products"
SUPPLY: Final = "/catalogue/supply"
ANY: Final = ("", "*")  # how a product is for every place
ENABLED: Final = Status(_("Enabled"), "good")
DISABLED: Final = Status(_("Disabled"), "idle")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of goods, and how much there is of it."""

    line_id: int
    name: str
    policy: str
    loss_rule: str
    sold: int
    offered: int


@dataclass(frozen=True, slots=True)
class Product:
    """One product that a channel may order, or that a supplier offers; `best` is the cheapest offer of it."""

    product_id: int
    channel_no: str
    line_id: int
    carrier: str
    face_micros: int
    discount_ppm: int
    best: str
    margin: Status | None
    limit: str
    status: Status


async def _catalogue(visit: Visit) -> Any:
    return (await visit.ask(calls.GET_CATALOGUE, pb.GetCatalogueRequest())).catalogue


def page(rows: Sequence[Any], query: Query) -> Found:
    """A page of rows that are all here; the token is where to go on."""
    begin = int(query.token) if query.token.isascii() and query.token.isdigit() else 0
    end = begin + query.size
    return Found(rows[begin:end], str(end) if end < len(rows) else "")


def _area(one: Any) -> str:
    places = (one.carrier_no, one.province_no, one.city_no)
    return " ".join(place for place in places if place not in ANY)


async def fetch_lines(visit: Visit, query: Query) -> Found:
    """A page of lines."""
    found = await _catalogue(visit)
    sold = [one.line_id for one in found.down_products]
    offered = [one.line_id for one in found.up_products]
    rows = [
        Line(
            one.line_id,
            one.line_name,
            one.route_policy,
            one.loss_rule,
            sold.count(one.line_id),
            offered.count(one.line_id),
        )
        for one in found.lines
    ]
    return page(rows, query)


def _fits(offer: Any, product: Any) -> bool:
    """Whether a supplier's product can be delivered for a channel's."""
    places = ("province_no", "city_no")
    return (
        offer.enabled
        and (offer.line_id, offer.carrier_no) == (product.line_id, product.carrier_no)
        and offer.face_micros in {product.face_micros, product.split_order_face_micros}
        and all(getattr(offer, one) in {*ANY, getattr(product, one)} for one in places)
    )


def _margin(ppm: int | None) -> Status:
    if ppm is None:
        return Status(_("Nobody supplies it"), "warn")
    return Status(ppm_percent(ppm), "good" if ppm > 0 else "bad")


async def fetch_products(visit: Visit, query: Query) -> Found:
    """A page of what channels may order, each with the cheapest offer of it."""
    found = await _catalogue(visit)
    shelves = {one.shelf_id: one for one in found.down_shelves}
    sources = {one.shelf_id: one.channel_no for one in found.up_shelves if one.enabled}
    channel, shelf, line = (query.text(name) for name in ("channel", "shelf", "line"))
    chosen = [
        one
        for one in found.down_products
        if (not channel or shelves[one.shelf_id].channel_no == channel)
        and (not shelf or str(one.shelf_id) == shelf)
        and (not line or str(one.line_id) == line)
    ]
    cut = page(chosen, query)
    rows: list[Product] = []
    for one in cut.rows:
        offers = [
            each for each in found.up_products if each.shelf_id in sources and _fits(each, one)
        ]
        best = min(offers, key=lambda each: each.cost_discount_ppm, default=None)
        cost = None if best is None else best.cost_discount_ppm
        rows.append(
            Product(
                one.product_id,
                shelves[one.shelf_id].channel_no,
                one.line_id,
                _area(one),
                one.face_micros,
                one.sell_discount_ppm,
                f"{sources[best.shelf_id]} {ppm_percent(best.cost_discount_ppm)}" if best else "",
                _margin(None if cost is None else one.sell_discount_ppm - cost),
                str(one.limit_count or "–"),
                ENABLED if one.enabled and shelves[one.shelf_id].enabled else DISABLED,
            )
        )
    return Found(rows, cut.next_token)


async def fetch_supply(visit: Visit, query: Query) -> Found:
    """A page of what suppliers offer."""
    found = await _catalogue(visit)
    shelves = {one.shelf_id: one for one in found.up_shelves}
    channel, line = query.text("channel"), query.text("line")
    rows = [
        Product(
            one.product_id,
            shelves[one.shelf_id].channel_no,
            one.line_id,
            _area(one),
            one.face_micros,
            one.cost_discount_ppm,
            "",
            None,
            str(one.limit_count or "–"),
            ENABLED if one.enabled and shelves[one.shelf_id].enabled else DISABLED,
        )
        for one in found.up_products
        if (not channel or shelves[one.shelf_id].channel_no == channel)
        and (not line or str(one.line_id) == line)
    ]
    return page(rows, query)


LINE_LIST: Final = Listing(
    name="catalogue",
    path=LINES,
    title=_("Lines of goods"),
    intro=_("What is in force now."),
    columns=(
        Column(
            "line_id",
            _("Line"),
            lambda row: row.line_id,
            "code",
            lambda row: f"{LINES}/{row.line_id}",
        ),
        Column("name", _("Name"), lambda row: row.name),
        Column("policy", _("Chooses a supplier by"), lambda row: row.policy, "code", small=False),
        Column("loss_rule", _("Sale at a loss"), lambda row: row.loss_rule, "code", small=False),
        Column(
            "sold",
            _("Products sold"),
            lambda row: row.sold,
            "number",
            lambda row: f"{PRODUCTS}?line={row.line_id}",
        ),
        Column(
            "offered",
            _("Products offered"),
            lambda row: row.offered,
            "number",
            lambda row: f"{SUPPLY}?line={row.line_id}",
        ),
    ),
    fetch=fetch_lines,
    empty=_("No catalogue yet. Apply one: shoudan config apply catalogue.yaml."),
    link=lambda row: f"{LINES}/{row.line_id}",
)
PRODUCT_LIST: Final = Listing(
    name="products",
    path=PRODUCTS,
    title=_("Products"),
    intro=_("The margin is the discount of the sale less that of the cheapest offer, before fees."),
    columns=(
        Column("product_id", _("Product"), lambda row: row.product_id, "code"),
        Column(
            "channel_no",
            _("Channel"),
            lambda row: row.channel_no,
            "text",
            lambda row: f"/partners/{row.channel_no}",
        ),
        Column("line_id", _("Line"), lambda row: row.line_id, "code", small=False),
        Column("carrier", _("Carrier and place"), lambda row: row.carrier, "code"),
        Column("face", _("Face"), lambda row: row.face_micros, "money"),
        Column(
            "sale", _("Sold at"), lambda row: ppm_percent(row.discount_ppm), "number", small=False
        ),
        Column("best", _("Cheapest offer"), lambda row: row.best, "code", small=False),
        Column("margin", _("Margin"), lambda row: row.margin, "status"),
        Column("limit", _("At once at most"), lambda row: row.limit, "number", small=False),
        Column("status", _("Setting"), lambda row: row.status, "status", small=False),
    ),
    fetch=fetch_products,
    empty=_("No product fits. Take a filter away."),
    filters=(
        Filter("channel", _("Channel"), hint="test"),
        Filter("shelf", _("Shelf"), hint="1"),
        Filter("line", _("Line"), hint="1"),
    ),
)
SUPPLY_LIST: Final = Listing(
    name="supply",
    path=SUPPLY,
    title=_("Offers of suppliers"),
    columns=(
        Column("product_id", _("Product"), lambda row: row.product_id, "code"),
        Column("channel_no", _("Supplier"), lambda row: row.channel_no),
        Column("line_id", _("Line"), lambda row: row.line_id, "code", small=False),
        Column("carrier", _("Carrier and place"), lambda row: row.carrier, "code"),
        Column("face", _("Face"), lambda row: row.face_micros, "money"),
        Column("cost", _("Cost"), lambda row: ppm_percent(row.discount_ppm), "number"),
        Column("limit", _("At once at most"), lambda row: row.limit, "number", small=False),
        Column("status", _("Setting"), lambda row: row.status, "status"),
    ),
    fetch=fetch_supply,
    empty=_("No offer fits. Take a filter away."),
    filters=(
        Filter("channel", _("Supplier"), hint="ycup"),
        Filter("line", _("Line"), hint="1"),
    ),
)

PAGES: Final = (
    *listing_pages(LINE_LIST),
    *listing_pages(PRODUCT_LIST),
    *listing_pages(SUPPLY_LIST),
)
NAVIGATION: Final = (
    Entry(LINES, _("Lines of goods"), _("Catalogue"), (calls.GET_CATALOGUE,)),
    Entry(PRODUCTS, _("Products"), _("Catalogue"), (calls.GET_CATALOGUE,)),
    Entry(SUPPLY, _("Offers of suppliers"), _("Catalogue"), (calls.GET_CATALOGUE,)),
)
