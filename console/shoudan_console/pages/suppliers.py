"""The suppliers: which are used, how their codes are understood, what went wrong; suspend, hold, release."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Final

from starlette.responses import Response

from shoudan.delivery.v1 import delivery_service_pb2 as pb
from shoudan.order.v1 import catalogue_service_pb2 as catalogue_pb
from shoudan_configuration.messages import supplier_row, text_of
from shoudan_console import calls, plans
from shoudan_console.lists import Column, Found, Listing, Query
from shoudan_console.page import Entry, Page, listing_pages
from shoudan_console.pages.catalogue_edit import Share, planned, shares_of
from shoudan_console.supplier_health import Code, health, unmapped
from shoudan_console.system_time import now
from shoudan_console.values import Status
from shoudan_console.values import mark as _
from shoudan_console.visits import Missing, Visit

PATH: Final = "/suppliers"
INCIDENTS: Final = 50
REASON_MAX: Final = 256
STATES: Final = {
    1: (_("In use"), "good"),
    2: (_("Tripped"), "warn"),
    3: (_("Suspended"), "bad"),
    4: (_("Held"), "warn"),
}
# What a person may set, by the word of the form.
WISHES: Final = {"open": 1, "suspend": 3, "hold": 4}
CLASSES: Final = {
    10: _("Fuel card"),
    20: _("Voucher"),
    21: _("Return of a voucher"),
    30: _("Phone credit"),
}
CODES: Final = {0: (_("Success"), "good"), 10: (_("Failure"), "bad"), 90: (_("Unknown"), "warn")}


@dataclass(frozen=True, slots=True)
class Row:
    """One supplier for one class of goods."""

    channel_no: str
    service_class: int
    class_word: str
    protocol: str
    status: Status
    why: str
    concurrency: int
    balance: str
    enabled: Status
    unmapped: int | None = None

    @property
    def path(self) -> str:
        return f"{PATH}/{self.channel_no}/{self.service_class}"


def row_of(one: Any) -> Row:
    """A supplier as the service gives it."""
    word, tone = STATES.get(one.state, (_("Not known"), "idle"))
    return Row(
        one.channel_no,
        one.service_class,
        CLASSES.get(one.service_class, str(one.service_class)),
        one.protocol,
        Status(word, tone, one.state),
        one.state_reason,
        one.concurrency_max,
        one.balance_yuan,
        Status(_("Enabled"), "good") if one.enabled else Status(_("Disabled"), "idle"),
    )


async def _all(visit: Visit) -> Any:
    return (await visit.ask(calls.LIST_SUPPLIERS, pb.ListSuppliersRequest())).suppliers


async def fetch(visit: Visit, _query: Query) -> Found:
    """All of them, in one answer of the service, with how many codes of each nothing explains."""
    suppliers, codes = await asyncio.gather(_all(visit), visit.panel(unmapped(visit)))
    counts = Counter((one.channel_no, one.service_class) for one in codes.value or ())
    rows = [row_of(one) for one in suppliers]
    if codes.value is None:
        return Found(rows)
    return Found([replace(one, unmapped=counts[one.channel_no, one.service_class]) for one in rows])


LISTING: Final = Listing(
    name="suppliers",
    path=PATH,
    title=_("Suppliers"),
    columns=(
        Column(
            "channel_no", _("Supplier"), lambda row: row.channel_no, "text", lambda row: row.path
        ),
        Column("class", _("Goods"), lambda row: row.class_word, "word"),
        Column("status", _("Status"), lambda row: row.status, "status"),
        Column("why", _("Why"), lambda row: row.why, small=False),
        Column("enabled", _("Setting"), lambda row: row.enabled, "status", small=False),
        Column("balance", _("Our money there, yuan"), lambda row: row.balance, "number"),
        Column("unmapped", _("Codes not understood"), lambda row: row.unmapped, "number"),
        Column("concurrency", _("At once"), lambda row: row.concurrency, "number", small=False),
        Column("protocol", _("Protocol"), lambda row: row.protocol, "code", small=False),
    ),
    fetch=fetch,
    empty=_("No supplier yet. They come with the catalogue: shoudan config apply."),
    link=lambda row: row.path,
)


async def show(visit: Visit, problem: str = "") -> Response:
    """One supplier with its limits, its codes and its incidents."""
    channel_no, text = visit.request.path_params["channel"], visit.request.path_params["kind"]
    found = next(
        (
            one
            for one in await _all(visit)
            if one.channel_no == channel_no and str(one.service_class) == text
        ),
        None,
    )
    if found is None:
        raise Missing
    request = pb.ListIncidentsRequest(channel_no=channel_no, page_size=INCIDENTS)
    panels = await visit.panels(
        incidents=visit.ask(calls.LIST_INCIDENTS, request),
        health=health(visit, channel_no, found.service_class),
        unmapped=_unmapped(visit, channel_no, found.service_class),
        lines=_lines(visit, found),
    )
    known = {0: CODES[0], 10: CODES[10], 90: CODES[90]}
    return visit.render(
        "supplier.html",
        400 if problem else 200,
        one=found,
        row=row_of(found),
        codes=[
            (code, Status(*known.get(code.deal_code, (str(code.deal_code), "idle"))))
            for code in found.error_codes
        ],
        panels=panels,
        meanings=CODES,
        now=now(),
        may=visit.may(calls.SET_SUPPLIER_STATE),
        may_map=visit.may(calls.APPLY_CATALOGUE) and visit.may(calls.APPLY_SUPPLIERS),
        problem=problem,
    )


async def _unmapped(visit: Visit, channel_no: str, service_class: int) -> list[Code]:
    return [one for one in await unmapped(visit, channel_no) if one.service_class == service_class]


async def _lines(visit: Visit, supplier: Any) -> list[tuple[Any, Share]]:
    """The lines whose goods it offers or has a share of, as far as its class delivers them."""
    asked = catalogue_pb.GetCatalogueRequest()
    goods = (await visit.ask(calls.GET_CATALOGUE, asked)).catalogue
    found = [
        (line, one)
        for line in goods.lines
        if supplier.service_class in {line.service_class, line.return_service_class}
        for one in shares_of(line, goods)
    ]
    return [(line, one) for line, one in found if one.channel_no == supplier.channel_no]


async def explain(visit: Visit) -> Response:
    """What it would change that a code means something: shown first, as everything in the catalogue."""
    channel_no, text = visit.request.path_params["channel"], visit.request.path_params["kind"]
    found = next(
        (
            one
            for one in await _all(visit)
            if one.channel_no == channel_no and str(one.service_class) == text
        ),
        None,
    )
    code, deal = visit.form.get("code", "").strip(), visit.form.get("means", "")
    words = visit.form.get("words", "").strip()
    if found is None:
        raise Missing
    if not code or deal not in {str(one) for one in CODES} or len(words) > REASON_MAX:
        return await show(visit, _("Choose what the code means."))
    supplier = plans.with_code(found, code, int(deal), words)
    return await planned(visit, text_of({"suppliers": [supplier_row(supplier)]}))


async def switch(visit: Visit) -> Response:
    """Suspend, hold or release one supplier for one class of goods. Repeats change nothing."""
    channel_no, text = visit.request.path_params["channel"], visit.request.path_params["kind"]
    reason, wish = visit.form.get("reason", "").strip(), visit.form.get("state", "")
    if wish not in WISHES or not reason or len(reason) > REASON_MAX:
        return await show(visit, _("Choose a state and say why, in at most 256 characters."))
    if not text.isascii() or not text.isdigit() or len(text) > 3:
        raise Missing
    state: Any = WISHES[wish]
    request = pb.SetSupplierStateRequest(
        channel_no=channel_no,
        service_class=int(text),
        state=state,
        by=visit.known.operator,
        reason=reason,
    )
    await visit.ask(calls.SET_SUPPLIER_STATE, request)
    return visit.redirect(f"{PATH}/{channel_no}/{text}", done=wish)


PAGES: Final = (
    *listing_pages(LISTING),
    Page("/suppliers/{channel}/{kind}", show, switch),
    Page("/suppliers/{channel}/{kind}/codes", act=explain),
)
NAVIGATION: Final = (Entry(PATH, _("Suppliers"), _("Operate"), (calls.LIST_SUPPLIERS,)),)
