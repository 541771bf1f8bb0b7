"""The work queue: everything that waits for a person, in all services, with its evidence and its decision."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from grpc import StatusCode
from starlette.responses import Response

from shoudan.core.v1 import operations_service_pb2 as operations_pb
from shoudan.core.v1 import proposal_service_pb2 as proposal_pb
from shoudan.core.v1 import work_service_pb2 as pb
from shoudan_console import assignments, calls, lists, statuses
from shoudan_console.assignments import Key
from shoudan_console.backend import Away
from shoudan_console.lists import Column, Filter, Found, Listing, Query, over_services
from shoudan_console.page import Entry, Page, listing_pages
from shoudan_console.proposing import call_or_propose
from shoudan_console.system_time import now
from shoudan_console.values import Status
from shoudan_console.values import mark as _
from shoudan_console.visits import Missing, Visit
from shoudan_kit.rpc.refusal import Refused

PATH: Final = "/work-queue"
SERVICES: Final[tuple[str, ...]] = ("order", "pay", "erp_ingest")
REASON_MAX: Final = 256
KIND: Final = re.compile(r"[a-z_]{1,40}")
ORDER: Final = re.compile(r"\border (\d{1,19})\b")
BULK: Final = "/work-queue/bulk"
BULK_MAX: Final = 100
MINE: Final = "mine"
IN_TIME: Final = Status(_("In time"), "idle")
SOON: Final = Status(_("Due soon"), "warn")
OVERDUE: Final = Status(_("Overdue"), "bad")
KINDS: Final[dict[str, str]] = {
    "delivery": _("Unknown delivery"),
    "return": _("Unknown return"),
    "order": _("Partly delivered order"),
    "order_refund": _("Partly returned refund"),
    "false_success": _("False success"),
    "parked_order": _("Parked order"),
    "notify": _("Notify not acknowledged"),
    "supplier_price": _("Price of a supplier"),
    "pay": _("Pay of PayServer"),
    "refund": _("Refund of PayServer"),
    "ums_refund": _("Refund of ChinaUMS"),
    "trade": _("Trade of a platform"),
    "notice": _("Notice of a platform"),
    "push": _("Push of an ERP"),
}
# Which service has the kinds that are not order's.
ELSEWHERE: Final = {
    **dict.fromkeys(("pay", "refund", "ums_refund", "trade", "notice"), "pay"),
    "push": "erp_ingest",
}
DECISIONS: Final = {
    "success": _("It succeeded"),
    "failed": _("It failed"),
    "partial": _("It succeeded in part"),
    "audit": _("Ask for an audit"),
    "retry": _("Try again"),
    "accept": _("Accept"),
    "refuse": _("Refuse"),
    "keep": _("Keep what stands"),
}
HARMLESS: Final = frozenset({"retry", "audit"})  # decisions that move no money by themselves


@dataclass(frozen=True, slots=True)
class Row:
    """One item in the list."""

    service: str
    kind: str
    key: str
    word: str
    status: Status
    reason: str
    evidence: str
    amount_micros: int | None
    since: datetime
    due: Status
    whose: str = ""

    @property
    def path(self) -> str:
        return f"{PATH}/{self.service}/{self.kind}/{self.key}"

    @property
    def ident(self) -> Key:
        return self.service, self.kind, self.key


def due_of(since: datetime, within_s: float) -> Status:
    """Whether there is time left: the last quarter is soon."""
    waited = now() - since
    if waited >= timedelta(seconds=within_s):
        return OVERDUE
    return SOON if waited * 4 >= timedelta(seconds=within_s) * 3 else IN_TIME


def row_of(visit: Visit, service: str, item: Any) -> Row:
    """An item as its service gives it."""
    since = item.since.ToDatetime(UTC)
    return Row(
        service,
        item.kind,
        item.key,
        KINDS.get(item.kind) or item.kind,
        statuses.named(item.state),
        item.reason,
        item.evidence,
        item.amount_micros or None,
        since,
        due_of(since, visit.site.settings.work_due_s),
    )


async def fetch(visit: Visit, query: Query) -> Found:
    """A page: one service after the other, oldest first in each kind; or what one works on oneself."""
    if query.text("whose") == MINE:
        return await _mine(visit)
    kind = query.text("kind")
    kinds = [kind] if kind else []

    async def of(service: str, size: int, token: str) -> tuple[list[Any], str]:
        request = pb.ListOpenWorkRequest(kinds=kinds, page_size=size, page_token=token)
        answer = await visit.ask(calls.list_work(service), request)
        return [row_of(visit, service, one) for one in answer.items], answer.next_page_token

    one = ELSEWHERE.get(kind, "order") if kind else query.text("service")
    found = await over_services([one] if one else SERVICES, query, of)
    async with visit.site.db.connect() as db:
        whose = await assignments.of_these(db, [row.ident for row in found.rows])
    return replace(found, rows=[replace(row, whose=whose.get(row.ident, "")) for row in found.rows])


async def _mine(visit: Visit) -> Found:
    """What this operator works on; what waits no more is forgotten."""
    async with visit.site.db.connect() as db:
        keys = await assignments.of_operator(db, visit.known.operator_id)

    async def look(key: Key) -> Row | Key | str:
        service, kind, number = key
        request = pb.ListOpenWorkRequest(kinds=[kind], key=number)
        try:
            items = (await visit.ask(calls.list_work(service), request)).items
        except Away as away:
            return away.service
        return row_of(visit, service, items[0]) if items else key

    seen = await asyncio.gather(*map(look, keys))
    async with visit.site.db.begin() as db:
        await assignments.give_back(db, [one for one in seen if isinstance(one, tuple)])
    rows = [replace(one, whose=visit.known.operator) for one in seen if isinstance(one, Row)]
    return Found(rows, "", sorted({one for one in seen if isinstance(one, str)}))


LISTING: Final = Listing(
    name="work",
    path=PATH,
    title=_("Work queue"),
    intro=_(
        "What no machine can know: decide each with its evidence. A late answer ends it without you."
    ),
    columns=(
        Column("kind", _("What"), lambda row: row.word, "word", lambda row: row.path),
        Column("key", _("Number"), lambda row: row.key, "code", lambda row: row.path),
        Column("status", _("Status"), lambda row: row.status, "status", small=False),
        Column("amount", _("Amount"), lambda row: row.amount_micros, "money"),
        Column("since", _("Waiting"), lambda row: row.since, "age"),
        Column("due", _("Due"), lambda row: row.due, "status"),
        Column("whose", _("Who works on it"), lambda row: row.whose, small=False),
        Column("reason", _("Why"), lambda row: row.reason, small=False),
        Column("evidence", _("Evidence"), lambda row: row.evidence, small=False),
        Column("service", _("Service"), lambda row: row.service, small=False),
    ),
    fetch=fetch,
    empty=_("Nothing waits for a person."),
    filters=(
        Filter("kind", _("What"), "choice", tuple(KINDS.items())),
        Filter("service", _("Service"), "choice", tuple((name, name) for name in SERVICES)),
        Filter("whose", _("Whose"), "choice", ((MINE, _("My own")),)),
    ),
    link=lambda row: row.path,
    template="work.html",
    more={
        "decisions": DECISIONS,
        "right": calls.decide_work("order"),
        "outcomes": (),
        "problem": "",
    },
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item of many: booked, proposed to a second person, or why not."""

    row: Key
    status: Status
    detail: str = ""

    @property
    def path(self) -> str:
        return "/".join((PATH, *self.row))


def _chosen(visit: Visit) -> Sequence[Key]:
    """The items that were ticked. Raises Missing for what is none."""
    found: list[Key] = []
    for text in dict.fromkeys(visit.form.getlist("item")):
        service, kind, key = (*text.split("/", 2), "", "")[:3]
        if service not in SERVICES or not KIND.fullmatch(kind) or not 0 < len(key) <= 64:
            raise Missing
        found.append((service, kind, key))
    if len(found) > BULK_MAX:
        raise Missing
    return found


async def bulk(visit: Visit) -> Response:
    """Take, give back or decide all that were ticked; each is decided by itself."""
    chosen, act = _chosen(visit), visit.form.get("act", "")
    if not visit.may(calls.decide_work("order")):
        raise Refused(StatusCode.PERMISSION_DENIED, "console", "NOT_ALLOWED")
    if act in {"take", "give_back"}:
        known = visit.known
        async with visit.site.db.begin() as db:
            if act == "take":
                await assignments.take(db, chosen, known.operator_id, known.operator)
            else:
                await assignments.give_back(db, chosen)
        return visit.redirect(PATH, **({"whose": MINE} if act == "take" else {}))
    decision, reason = visit.form.get("decision", ""), visit.form.get("reason", "").strip()
    if decision not in DECISIONS or not reason or len(reason) > REASON_MAX or not chosen:
        problem = _("Tick what is to be decided, choose a decision and say why.")
        return await lists.show(LISTING, visit, problem=problem)
    if decision not in HARMLESS and not visit.known.proved:
        return visit.redirect("/prove", next=PATH)
    once = visit.form.get("once", "")[:32]
    outcomes = [
        await _decided(visit, key, decision, reason, f"{once}-{number}")
        for number, key in enumerate(chosen)
    ]
    return await lists.show(LISTING, visit, outcomes=outcomes)


async def _decided(visit: Visit, row: Key, decision: str, reason: str, once: str) -> Outcome:
    service, kind, key = row
    request = pb.DecideWorkRequest(
        kind=kind, key=key, decision=decision, by=visit.known.operator, reason=reason
    )
    try:
        answer = await call_or_propose(visit, calls.decide_work(service), request, reason, once)
    except Refused as refused:
        return Outcome(row, Status(_("Refused"), "bad"), str(refused))
    except Away as away:
        return Outcome(row, Status(_("Not known"), "warn"), away.service)
    if isinstance(answer, proposal_pb.Proposal):
        return Outcome(row, Status(_("Waits for a second person"), "busy"))
    return Outcome(row, Status(_("Decided"), "good"))


async def _found(visit: Visit) -> tuple[str, str, str]:
    """Service, kind and key of the address. Raises Missing."""
    values = visit.request.path_params
    service, kind, key = values["service"], values["kind"], values["key"]
    if service not in SERVICES or not KIND.fullmatch(kind) or len(key) > 64:
        raise Missing
    return service, kind, key


async def show(visit: Visit, problem: str = "", proposal: Any = None) -> Response:
    """One item: why it waits, what is known, what happened so far, and the form that ends it."""
    service, kind, key = await _found(visit)
    request = pb.ListOpenWorkRequest(kinds=[kind], key=key)
    items = (await visit.ask(calls.list_work(service), request)).items
    row = row_of(visit, service, items[0]) if items else None
    async with visit.site.db.connect() as db:
        whose = (await assignments.of_these(db, [(service, kind, key)])).get((service, kind, key))
    offered = list(items[0].decisions) if items else []
    asked = operations_pb.GetHistoryRequest(keys=[key])
    panels = await visit.panels(history=visit.ask(calls.get_history(service), asked))
    order = ORDER.search(row.evidence) if row is not None else None
    return visit.render(
        "work_item.html",
        400 if problem else 200 if items or proposal else 404,
        row=row,
        decisions=[(one, DECISIONS.get(one, one)) for one in offered],
        must_prove=not visit.known.proved and not HARMLESS.issuperset(offered),
        kind=KINDS.get(kind, kind),
        key=key,
        history=panels["history"],
        order=order[1] if order else "",
        may=visit.may(calls.decide_work(service)),
        once=secrets.token_hex(16),
        problem=problem,
        proposal=proposal,
        service=service,
        whose=whose or "",
        now=now(),
    )


async def decide(visit: Visit) -> Response:
    """End an item; where two persons are needed the decision is proposed. Sent twice, it counts once."""
    service, kind, key = await _found(visit)
    form = visit.form
    decision, reason = form.get("decision", ""), form.get("reason", "").strip()
    if not decision or not reason or len(reason) > REASON_MAX:
        return await show(visit, _("Choose a decision and say why, in at most 256 characters."))
    if decision not in HARMLESS and not visit.known.proved:
        where = f"{PATH}/{service}/{kind}/{key}"
        return visit.redirect("/prove", next=where)
    request = pb.DecideWorkRequest(
        kind=kind, key=key, decision=decision, by=visit.known.operator, reason=reason
    )
    once = form.get("once", "")[:64]
    try:
        answer = await call_or_propose(visit, calls.decide_work(service), request, reason, once)
    except Refused as refused:
        if refused.reason.endswith(("NOT_ALLOWED", "NOT_FOUND")):
            raise
        return await show(visit, str(refused))
    if isinstance(answer, proposal_pb.Proposal):
        return await show(visit, proposal=answer)
    return visit.redirect(PATH, done=decision, kind=kind, key=key)


PAGES: Final = (
    *listing_pages(LISTING),
    Page(BULK, act=bulk),
    Page("/work-queue/{service}/{kind}/{key}", show, decide),
)
NAVIGATION: Final = (
    Entry(PATH, _("Work queue"), _("Operate"), tuple(map(calls.list_work, SERVICES))),
)
