"""The catalogue changed, as its file or a line's shares alone: looked at first, then made so; its history."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from starlette.responses import Response

from shoudan.core.v1 import audit_log_service_pb2 as audit_pb
from shoudan.delivery.v1 import delivery_service_pb2 as delivery
from shoudan.order.v1 import catalogue_service_pb2 as catalogue
from shoudan_configuration.document import DocumentError
from shoudan_configuration.messages import catalogue_rows, supplier_row, text_of
from shoudan_console import calls, plans
from shoudan_console.lists import Column, Filter, Found, Listing, Query, over_services
from shoudan_console.page import Entry, Page, listing_pages
from shoudan_console.pages import audit_log
from shoudan_console.values import mark as _
from shoudan_console.visits import Missing, Visit
from shoudan_kit.clock import BEIJING
from shoudan_kit.rpc.refusal import Refused

EDIT: Final = "/catalogue/edit"
HISTORY: Final = "/catalogue/history"
REASON_MAX: Final = 256
PARTS: Final[dict[str, str]] = {
    "lines": _("Lines of goods"),
    "down_channels": _("Channels with their shelves and products"),
    "up_channels": _("Suppliers of the catalogue with their offers"),
    "suppliers": _("How suppliers are called, with their codes"),
    "cantons": _("Places"),
    "notify_endpoints": _("Notify endpoints"),
}
SUBJECTS: Final[dict[str, str]] = {"order": "catalogue", "delivery": "suppliers"}
HAS_MOVED: Final = _(
    "It has been changed meanwhile, by another person or by prices that came. Nothing of this was made: "
    "look again."
)
POLICIES: Final[dict[str, str]] = {
    "cheapest": _("the cheapest that can deliver"),
    "weighted": _("by shares"),
    "outcome": _("by success, time and cost"),
}


@dataclass(frozen=True, slots=True)
class Said:
    """What a form came to: why not, or what is proposed."""

    problem: str = ""
    mistakes: Sequence[str] = ()
    proposal: Any = None


async def _document(visit: Visit) -> dict[str, Any]:
    """The catalogue and its suppliers, as the file has them."""
    goods, suppliers = await asyncio.gather(
        visit.ask(calls.GET_CATALOGUE, catalogue.GetCatalogueRequest()),
        visit.ask(calls.LIST_SUPPLIERS, delivery.ListSuppliersRequest()),
    )
    document = catalogue_rows(goods.catalogue)
    return document | {"suppliers": [supplier_row(one) for one in suppliers.suppliers]}


async def export(visit: Visit) -> Response:
    """The catalogue as a file that the editor and `shoudan config apply` take."""
    document = await _document(visit)
    name = f"catalogue-{datetime.now(BEIJING):%Y%m%d-%H%M%S}.yaml"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(text_of(document), 200, headers, "application/yaml; charset=utf-8")


async def show(visit: Visit) -> Response:
    """The file, or the part of it that is asked for, to be changed."""
    part = visit.query.get("part", "")
    document = await _document(visit)
    text = text_of({part: document[part]}) if part in PARTS else ""
    return await edited(visit, text)


async def edited(
    visit: Visit, text: str, found: plans.Plan | None = None, said: Said | None = None
) -> Response:
    """The editor with a text, and what it would change when that was asked."""
    said = said or Said()
    return visit.render(
        "catalogue_edit.html",
        400 if said.problem or said.mistakes else 200,
        text=text,
        plan=found,
        said=said,
        parts=PARTS,
        may=visit.may(calls.APPLY_CATALOGUE) and visit.may(calls.APPLY_SUPPLIERS),
        once=visit.once(),
        reason=visit.form.get("reason", ""),
        path=EDIT,
    )


async def planned(visit: Visit, text: str, said: Said | None = None) -> Response:
    """What a text would change now."""
    try:
        return await edited(visit, text, await plans.plan(visit, text), said)
    except DocumentError as error:
        return await edited(visit, text, None, Said(mistakes=error.mistakes[: plans.MISTAKES_MAX]))
    except Refused as refused:
        if refused.reason.endswith("NOT_ALLOWED"):
            raise
        return await edited(visit, text, None, Said(str(refused)))


async def act(visit: Visit) -> Response:
    """Look at a text, or make what was looked at: exactly that, or nothing when its base has moved."""
    text = visit.form.get("text", "").replace("\r\n", "\n")
    if visit.file is not None and visit.file.size:
        text = (await visit.file.read(plans.TEXT_BYTES_MAX)).decode("utf-8", "replace")
    does = visit.form.get("do")
    if does not in {"apply", "propose"}:
        return await planned(visit, text)
    reason = visit.form.get("reason", "").strip()
    if not reason or len(reason) > REASON_MAX:
        return await planned(visit, text, Said(_("Say why, in at most 256 characters.")))
    if not visit.known.proved:
        why = _("Say once more who you are, in another tab: then apply it here.")
        return await planned(visit, text, Said(why))
    given = plans.Plan(
        text, (), 0, (), visit.form.get("catalogue", ""), visit.form.get("suppliers", "")
    )
    try:
        once, asking = visit.form.get("once", ""), does == "propose"
        proposal = await plans.make(visit, given, reason, once, asking=asking)
    except DocumentError as error:
        return await edited(visit, text, None, Said(mistakes=error.mistakes))
    except Refused as refused:
        if refused.reason.endswith("NOT_ALLOWED"):
            raise
        why = HAS_MOVED if refused.reason == plans.MOVED else str(refused)
        return await planned(visit, text, Said(why))
    if proposal is not None:
        return await edited(visit, "", None, Said(proposal=proposal))
    return visit.redirect(HISTORY, done="apply")


# ---------------------------------------------------------------- shares of a line
@dataclass(frozen=True, slots=True)
class Share:
    """A supplier that offers goods of a line, and its share of their orders."""

    channel_no: str
    offers: int
    weight: int
    per_cent: int


def shares_of(line: Any, goods: Any) -> list[Share]:
    """Of every supplier that offers goods of the line, or has a share of it."""
    sources = {one.shelf_id: one.channel_no for one in goods.up_shelves}
    offers = [
        sources.get(one.shelf_id, "") for one in goods.up_products if one.line_id == line.line_id
    ]
    total = sum(line.route_weights.values())
    return [
        Share(
            one,
            offers.count(one),
            line.route_weights.get(one, 0),
            line.route_weights.get(one, 0) * 100 // total if total else 0,
        )
        for one in sorted({*offers, *line.route_weights} - {""})
    ]


async def _line(visit: Visit) -> tuple[Any, Any]:
    number = visit.request.path_params["line"]
    asked = catalogue.GetCatalogueRequest()
    goods = (await visit.ask(calls.GET_CATALOGUE, asked)).catalogue
    found = next((one for one in goods.lines if str(one.line_id) == number), None)
    if found is None:
        raise Missing
    return found, goods


async def show_line(visit: Visit, problem: str = "") -> Response:
    """One line: how it chooses its suppliers, and their shares."""
    line, goods = await _line(visit)
    return visit.render(
        "catalogue_line.html",
        400 if problem else 200,
        line=line,
        shares=shares_of(line, goods),
        policies=POLICIES,
        may=visit.may(calls.APPLY_CATALOGUE) and visit.may(calls.APPLY_SUPPLIERS),
        problem=problem,
    )


async def switch(visit: Visit) -> Response:
    """What other shares would change: shown before it is made, as everything in the catalogue."""
    line, goods = await _line(visit)
    policy = visit.form.get("policy", "")
    weights: dict[str, int] = {}
    for one in shares_of(line, goods):
        text = visit.form.get(f"share-{one.channel_no}", "").strip() or "0"
        if not text.isascii() or not text.isdigit() or int(text) > 10_000:
            return await show_line(visit, _("A share is a whole number, 0 to 10000."))
        if int(text):
            weights[one.channel_no] = int(text)
    if policy not in POLICIES:
        raise Missing
    rows = catalogue_rows(catalogue.Catalogue(lines=[line]))["lines"]
    changed = [row | {"route_policy": policy, "route_weights": weights} for row in rows]
    return await planned(visit, text_of({"lines": changed}))


# ---------------------------------------------------------------- history
async def history(visit: Visit, query: Query) -> Found:
    """What was changed of the catalogue and of its suppliers, newest first in each."""

    async def of(service: str, size: int, token: str) -> tuple[list[Any], str]:
        choice = audit_pb.AuditLogFilter(subject_kind=SUBJECTS[service])
        for name, place in (("from", choice.start_time), ("to", choice.end_time)):
            if (moment := query.moment(name)) is not None:
                place.FromDatetime(moment)
        request = audit_pb.ListAuditLogRequest(filter=choice, page_size=size, page_token=token)
        answer = await visit.ask(calls.list_audit_log(service), request)
        return [audit_log.row_of(one) for one in answer.rows], answer.next_page_token

    found = await over_services(tuple(SUBJECTS), query, of)
    return replace(found, rows=await audit_log.named(visit, found.rows))


HISTORY_LIST: Final = Listing(
    name="catalogue-history",
    path=HISTORY,
    title=_("History of the catalogue"),
    intro=_("Every change of what is sold and bought, and of how suppliers are called."),
    columns=(
        Column("create_time", _("Time"), lambda row: row.create_time, "time"),
        Column("who", _("Who"), lambda row: f"{row.who}" or row.kind),
        Column("action", _("Action"), lambda row: row.action, small=False),
        Column("subject", _("About"), lambda row: row.subject),
        Column("changed", _("Changed"), lambda row: row.changed, "folded"),
        Column("reason", _("Why"), lambda row: row.reason, small=False),
    ),
    fetch=history,
    empty=_("Nothing was changed in this time. Changes are made in the editor."),
    filters=(Filter("from", _("From"), "moment"), Filter("to", _("To"), "moment")),
)

PAGES: Final = (
    Page(EDIT, show, act, upload=True, text_bytes_max=plans.TEXT_BYTES_MAX),
    Page("/catalogue/export.yaml", export),
    Page("/catalogue/lines/{line}", show_line, switch),
    *listing_pages(HISTORY_LIST),
)
NAVIGATION: Final = (
    Entry(EDIT, _("Change the catalogue"), _("Catalogue"), (calls.APPLY_CATALOGUE,)),
    Entry(HISTORY, _("History"), _("Catalogue"), tuple(map(calls.list_audit_log, SUBJECTS))),
)
