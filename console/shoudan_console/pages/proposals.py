"""Calls that wait for a second person: what each would change, and its approval or end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from starlette.responses import Response

from shoudan.core.v1 import proposal_service_pb2 as pb
from shoudan_console import calls
from shoudan_console.lists import Column, Filter, Found, Listing, Query, over_services
from shoudan_console.page import Entry, Page, listing_pages
from shoudan_console.pages.order import number_in
from shoudan_console.values import Status
from shoudan_console.values import mark as _
from shoudan_console.visits import Missing, Visit
from shoudan_kit.rpc.refusal import Refused

PATH: Final = "/proposals"
SERVICES: Final[tuple[str, ...]] = ("order", "pay", "finance")
REASON_MAX: Final = 256
STATES: Final = {
    1: (_("Open"), "warn"),
    2: (_("Approved"), "busy"),
    3: (_("Applied"), "good"),
    4: (_("Failed"), "bad"),
    5: (_("Refused"), "bad"),
    6: (_("Withdrawn"), "idle"),
    7: (_("Expired"), "idle"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One proposal in the list."""

    service: str
    number: int
    subject: str
    amount_micros: int | None
    maker: str
    reason: str
    status: Status
    create_time: datetime

    @property
    def path(self) -> str:
        return f"{PATH}/{self.service}/{self.number}"


def state_of(number: int) -> Status:
    """A state as people see it."""
    word, tone = STATES.get(number, (str(number), "idle"))
    return Status(word, tone, number)


def row_of(service: str, one: Any) -> Row:
    """A proposal as its service gives it."""
    return Row(
        service,
        one.proposal_id,
        one.subject,
        one.amount_micros if one.HasField("amount_micros") else None,
        one.maker,
        one.reason,
        state_of(one.state),
        one.create_time.ToDatetime(UTC),
    )


async def fetch(visit: Visit, query: Query) -> Found:
    """A page of one service after the other; those that are open without a filter."""
    state = query.text("state")
    wanted: Any = [] if state == "all" else [int(state or pb.PROPOSAL_STATE_OPEN)]

    async def of(service: str, size: int, token: str) -> tuple[list[Any], str]:
        request = pb.ListProposalsRequest(states=wanted, page_size=size, page_token=token)
        answer = await visit.ask(calls.list_proposals(service), request)
        return [row_of(service, one) for one in answer.proposals], answer.next_page_token

    one = query.text("service")
    return await over_services([one] if one else SERVICES, query, of)


LISTING: Final = Listing(
    name="proposals",
    path=PATH,
    title=_("Proposals"),
    intro=_("Money that a person moves is moved by two: one proposes, another one approves."),
    columns=(
        Column(
            "number",
            _("Number"),
            lambda row: f"{row.service}:{row.number}",
            "code",
            lambda row: row.path,
        ),
        Column("subject", _("What"), lambda row: row.subject),
        Column("amount", _("Amount"), lambda row: row.amount_micros, "money"),
        Column("maker", _("Proposed by"), lambda row: row.maker),
        Column("reason", _("Why"), lambda row: row.reason, small=False),
        Column("status", _("Status"), lambda row: row.status, "status"),
        Column("create_time", _("Proposed"), lambda row: row.create_time, "time", small=False),
    ),
    fetch=fetch,
    empty=_("Nothing waits for a second person."),
    filters=(
        Filter(
            "state",
            _("Status"),
            "choice",
            (
                ("all", _("Every status")),
                *((str(number), word) for number, (word, _tone) in STATES.items()),
            ),
        ),
        Filter("service", _("Service"), "choice", tuple((name, name) for name in SERVICES)),
    ),
    link=lambda row: row.path,
)


def _service(visit: Visit) -> str:
    service: str = visit.request.path_params["service"]
    if service not in SERVICES:
        raise Missing
    return service


async def show(visit: Visit, problem: str = "") -> Response:
    """One proposal: its call, what it would change, and who may decide it."""
    service, number = _service(visit), number_in(visit, "number")
    request = pb.GetProposalRequest(proposal_id=number)
    found = (await visit.ask(calls.get_proposal(service), request)).proposal
    mine = found.maker_id == str(visit.known.operator_id)
    is_open = found.state == pb.PROPOSAL_STATE_OPEN
    approver = not visit.known.roles.isdisjoint(found.approvers)
    return visit.render(
        "proposal.html",
        400 if problem else 200,
        one=found,
        service=service,
        number=number,
        stands=state_of(found.state),
        mine=mine,
        may_decide=is_open and approver and not mine,
        may_withdraw=is_open and mine,
        problem=problem,
    )


async def decide(visit: Visit) -> Response:
    """Approve, refuse or withdraw; the service compares the persons, and a repeat changes nothing."""
    service, number = _service(visit), number_in(visit, "number")
    word, reason = visit.form.get("decision", ""), visit.form.get("reason", "").strip()
    if len(reason) > REASON_MAX or (word == "refuse" and not reason):
        return await show(visit, _("Say why, in at most 256 characters."))
    if word == "approve" and not visit.known.proved:
        return visit.redirect("/prove", next=f"{PATH}/{service}/{number}")
    given: Any = {"proposal_id": number, "reason": reason}
    try:
        match word:
            case "approve":
                await visit.ask(calls.approve(service), pb.ApproveProposalRequest(**given))
            case "refuse":
                await visit.ask(calls.refuse(service), pb.RefuseProposalRequest(**given))
            case "withdraw":
                await visit.ask(calls.withdraw(service), pb.WithdrawProposalRequest(**given))
            case _:
                return await show(visit, _("Choose what to do."))
    except Refused as refused:
        if refused.reason.endswith(("NOT_ALLOWED", "NOT_FOUND")):
            raise
        return await show(visit, str(refused))
    return visit.redirect(f"{PATH}/{service}/{number}", done=word)


PAGES: Final = (*listing_pages(LISTING), Page("/proposals/{service}/{number}", show, decide))
NAVIGATION: Final = (
    Entry(PATH, _("Proposals"), _("Money"), tuple(map(calls.list_proposals, SERVICES))),
)
