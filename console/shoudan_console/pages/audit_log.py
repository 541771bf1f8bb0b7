"""The audit log of every service: who changed what, when and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from shoudan.core.v1 import audit_log_service_pb2 as pb
from shoudan.identity.v1 import identity_service_pb2 as identity_pb
from shoudan_console import calls
from shoudan_console.backend import SERVICES, Away
from shoudan_console.lists import Column, Filter, Found, Listing, Query, over_services
from shoudan_console.page import Entry, listing_pages
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit
from shoudan_kit.rpc.refusal import Refused

PATH: Final = "/audit-log"
SHOWN_CHARS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a service's log."""

    create_time: datetime
    service: str
    action: str
    kind: str
    who: str
    address: str
    subject: str
    reason: str
    request_id: str
    changed: str


def row_of(one: Any) -> Row:
    """A row as its service gives it."""
    subject = f"{one.subject_kind} {one.subject_key}".strip()
    return Row(
        one.create_time.ToDatetime(UTC),
        one.service,
        one.action,
        one.caller_kind,
        one.caller_ref,
        one.address,
        subject,
        one.reason,
        one.request_id,
        changed(one.before, one.after),
    )


def changed(before: str, after: str) -> str:
    """What a row says of before and after, a line for each field that differs."""
    old, new = _fields(before), _fields(after)
    lines = [
        f"{name}: {old.get(name, '–')} → {new.get(name, '–')}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
    return "\n".join(lines)[:SHOWN_CHARS]


def _fields(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any]) if text else {}
    except msgspec.DecodeError:
        return {"": text}


async def fetch(visit: Visit, query: Query) -> Found:
    """A page, newest first in each service; operators by their names where this one may know them."""
    chosen = query.text("service")
    choice = pb.AuditLogFilter(
        action=query.text("action"),
        subject_kind=query.text("kind"),
        subject_key=query.text("key"),
        caller_ref=query.text("who"),
        request_id=query.text("request"),
    )
    for name, place in (("from", choice.start_time), ("to", choice.end_time)):
        if (moment := query.moment(name)) is not None:
            place.FromDatetime(moment)

    async def of(service: str, size: int, token: str) -> tuple[list[Any], str]:
        request = pb.ListAuditLogRequest(filter=choice, page_size=size, page_token=token)
        answer = await visit.ask(calls.list_audit_log(service), request)
        return [row_of(one) for one in answer.rows], answer.next_page_token

    found = await over_services([chosen] if chosen else SERVICES, query, of)
    return replace(found, rows=await named(visit, found.rows))


async def named(visit: Visit, rows: Any) -> list[Row]:
    """Operators' numbers become names; without identity the numbers stay."""
    numbers = {int(one.who) for one in rows if one.kind == "operator" and one.who.isdigit()}
    names: dict[int, str] = {}
    if numbers and visit.may(calls.GET_OPERATOR_NAMES):
        request = identity_pb.GetOperatorNamesRequest(operator_ids=sorted(numbers))
        try:
            names = dict((await visit.ask(calls.GET_OPERATOR_NAMES, request)).names)
        except (Away, Refused):
            names = {}
    known = {str(number): name for number, name in names.items()}
    return [replace(one, who=known.get(one.who, one.who)) for one in rows]


LISTING: Final = Listing(
    name="audit-log",
    path=PATH,
    title=_("Audit log"),
    columns=(
        Column("create_time", _("Time"), lambda row: row.create_time, "time"),
        Column("service", _("Service"), lambda row: row.service),
        Column("action", _("Action"), lambda row: row.action),
        Column("who", _("Who"), lambda row: f"{row.who}" or row.kind),
        Column("subject", _("About"), lambda row: row.subject),
        Column("reason", _("Why"), lambda row: row.reason, small=False),
        Column("changed", _("Changed"), lambda row: row.changed, "folded", small=False),
        Column("address", _("Address"), lambda row: row.address, "code", small=False),
        Column("request", _("Request"), lambda row: row.request_id, "code", small=False),
    ),
    fetch=fetch,
    empty=_("Nothing was changed that fits. Take a filter away, or widen the time."),
    filters=(
        Filter("service", _("Service"), "choice", tuple((name, name) for name in SERVICES)),
        Filter("action", _("Action"), hint="AuditService/DecideAudit"),
        Filter("who", _("Operator's number or service")),
        Filter("kind", _("About, its kind"), hint="order"),
        Filter("key", _("About, its number")),
        Filter("request", _("Request")),
        Filter("from", _("From"), "moment"),
        Filter("to", _("To"), "moment"),
    ),
)

PAGES: Final = listing_pages(LISTING)
NAVIGATION: Final = (
    Entry(PATH, _("Audit log"), _("Administer"), tuple(map(calls.list_audit_log, SERVICES))),
)
