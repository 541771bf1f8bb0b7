"""Differences between the books: what they are, what is known of them, and their decision by two persons."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from starlette.responses import Response

from shoudan.core.v1 import proposal_service_pb2 as proposal_pb
from shoudan.finance.v1 import exception_service_pb2 as pb
from shoudan_console import finance_calls as calls
from shoudan_console.lists import Column, Filter, Found, Listing, Query
from shoudan_console.page import Entry, Page, listing_pages
from shoudan_console.pages.order import number_in
from shoudan_console.proposing import call_or_propose
from shoudan_console.values import Status, moment_of
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit
from shoudan_kit.rpc.refusal import Refused

PATH: Final = "/finance/exceptions"
TEXT_MAX: Final = 256
UNDECIDED: Final = "open"
KINDS: Final = {
    1: _("Overage"),
    2: _("Shortage"),
    3: _("Amounts differ"),
    4: _("Outcomes differ"),
    5: _("Settlement differs"),
}
STATES: Final = {
    10: (_("Waits for a person"), "warn"),
    20: (_("Asked"), "busy"),
    30: (_("Disputed"), "busy"),
    40: (_("Being booked"), "busy"),
    50: (_("Settled"), "good"),
    60: (_("Came late"), "good"),
    70: (_("Void: statement corrected"), "idle"),
}
DECISIONS: Final = {
    1: _("Book it to the overage and shortage account"),
    2: _("Write it off"),
    3: _("Adjust the supplier's cost"),
    4: _("Refund the order, and adjust the supplier's cost"),
}
DECIDABLE: Final = frozenset({10, 20, 30})
NOTES: Final = {
    "comment": _("Comment"),
    "asked": _("Asked"),
    "decided": _("Decided"),
    "booked": _("Booked"),
    "refused": _("Refused"),
    "disputed": _("Disputed"),
    "answered": _("Answered"),
    "assigned": _("Assigned"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One difference."""

    exception_id: int
    source: str
    kind: str
    status: Status
    diff_micros: int
    day: str
    number: str
    assignee: str
    since: datetime

    @property
    def path(self) -> str:
        return f"{PATH}/{self.exception_id}"


def row_of(one: Any) -> Row:
    """A difference as the service gives it."""
    number = one.ours.our_no or one.theirs.our_no or one.theirs.their_no
    return Row(
        one.exception_id,
        one.source,
        KINDS.get(one.kind, str(one.kind)),
        Status(*STATES.get(one.status, (str(one.status), "idle")), one.status),
        one.diff_micros,
        one.day,
        number,
        one.assignee,
        one.create_time.ToDatetime(UTC),
    )


async def fetch(visit: Visit, query: Query) -> Found:
    """A page of differences, as the service orders them."""
    request = pb.ListExceptionsRequest(
        source=query.text("source"),
        undecided=query.text("state") == UNDECIDED,
        page_size=query.size,
        page_token=query.token,
    )
    answer = await visit.ask(calls.LIST_EXCEPTIONS, request)
    return Found([row_of(one) for one in answer.exceptions], answer.next_page_token)


LISTING: Final = Listing(
    name="finance-exceptions",
    path=PATH,
    title=_("Exceptions"),
    intro=_("What the books of others say and ours do not. Each is decided with its evidence."),
    columns=(
        Column(
            "exception_id", _("Exception"), lambda row: row.exception_id, "code", lambda r: r.path
        ),
        Column("source", _("Source"), lambda row: row.source),
        Column("kind", _("What"), lambda row: row.kind, "word"),
        Column("diff", _("Difference"), lambda row: row.diff_micros, "money"),
        Column("day", _("Day"), lambda row: row.day, small=False),
        Column("number", _("Number"), lambda row: row.number, "code", small=False),
        Column("status", _("Status"), lambda row: row.status, "status"),
        Column("since", _("Waiting"), lambda row: row.since, "age"),
        Column("assignee", _("Assigned to"), lambda row: row.assignee, small=False),
    ),
    fetch=fetch,
    empty=_(
        "No difference: what was matched agrees. Statements that are imported are matched at once."
    ),
    filters=(
        Filter("state", _("Status"), "choice", ((UNDECIDED, _("Not decided")),)),
        Filter("source", _("Source"), hint="ycup"),
    ),
    link=lambda row: row.path,
)


async def show(visit: Visit, problem: str = "", proposal: Any = None) -> Response:
    """One difference: both sides, what was noted, and the forms."""
    exception_id = number_in(visit, "exception_id")
    request = pb.GetExceptionRequest(exception_id=exception_id)
    found = await visit.ask(calls.GET_EXCEPTION, request)
    one = found.exception
    sides = ((_("Ours"), "ours"), (_("Theirs"), "theirs"))
    return visit.render(
        "finance_exception.html",
        400 if problem else 200,
        row=row_of(one),
        one=one,
        sides=[(word, getattr(one, name)) for word, name in sides if one.HasField(name)],
        end_time=moment_of(one.end_time),
        notes=[(NOTES.get(note.kind, note.kind), note) for note in found.notes],
        decisions=DECISIONS,
        open=one.status in DECIDABLE,
        may_decide=visit.may(calls.DECIDE_EXCEPTIONS),
        may_assign=visit.may(calls.ASSIGN_EXCEPTIONS),
        may_comment=visit.may(calls.COMMENT_EXCEPTION),
        once=secrets.token_hex(16),
        problem=problem,
        proposal=proposal,
        now=datetime.now(UTC),
    )


async def act(visit: Visit) -> Response:
    """What the page's forms do: take it, note something, propose a decision."""
    exception_id = number_in(visit, "exception_id")
    match visit.form.get("do", ""):
        case "take":
            asked = pb.AssignExceptionsRequest(
                exception_ids=[exception_id],
                assignee=visit.known.operator,
                by=visit.known.operator,
            )
            await visit.ask(calls.ASSIGN_EXCEPTIONS, asked)
            return visit.redirect(f"{PATH}/{exception_id}", done="take")
        case "comment":
            text = visit.form.get("text", "").strip()
            if not text or len(text) > TEXT_MAX:
                return await show(visit, _("Write something, in at most 256 characters."))
            noted = pb.CommentExceptionRequest(
                exception_id=exception_id, text=text, by=visit.known.operator
            )
            await visit.ask(calls.COMMENT_EXCEPTION, noted)
            return visit.redirect(f"{PATH}/{exception_id}", done="comment")
        case _:
            return await _decide(visit, exception_id)


async def _decide(visit: Visit, exception_id: int) -> Response:
    """Propose a decision; another person approves it, and then it is booked. Sent twice, it counts once."""
    form = visit.form
    decision, remark = form.get("decision", ""), form.get("remark", "").strip()
    if decision not in map(str, DECISIONS) or not remark or len(remark) > TEXT_MAX:
        return await show(visit, _("Choose a decision and say why, in at most 256 characters."))
    if not visit.known.proved:
        return visit.redirect("/prove", next=f"{PATH}/{exception_id}")
    chosen: Any = int(decision)
    item = pb.DecideExceptionsRequest.Item(
        exception_id=exception_id, decision=chosen, remark=remark
    )
    request = pb.DecideExceptionsRequest(items=[item], by=visit.known.operator)
    once = form.get("once", "")[:64]
    try:
        answer = await call_or_propose(visit, calls.DECIDE_EXCEPTIONS, request, remark, once)
    except Refused as refused:
        if refused.reason.endswith("NOT_ALLOWED"):
            raise
        return await show(visit, str(refused))
    if isinstance(answer, proposal_pb.Proposal):
        return await show(visit, proposal=answer)
    return visit.redirect(f"{PATH}/{exception_id}", done="decided")


PAGES: Final = (*listing_pages(LISTING), Page("/finance/exceptions/{exception_id}", show, act))
NAVIGATION: Final = (Entry(PATH, _("Exceptions"), _("Money"), (calls.LIST_EXCEPTIONS,)),)
