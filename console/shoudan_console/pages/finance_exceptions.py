"""Differences between the books: what they are, what is known of them, and their decision by two persons."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from starlette.responses import Response

from shoudan.core.v1 import proposal_service_pb2 as proposal_pb
from shoudan.finance.v1 import exception_service_pb2 as pb
from shoudan_console import disputes, uploads
from shoudan_console import finance_calls as calls
from shoudan_console.lists import Column, Filter, Found, Listing, Query, moment_in
from shoudan_console.page import Entry, Page, listing_pages
from shoudan_console.pages.order import number_in
from shoudan_console.proposing import call_or_propose
from shoudan_console.system_time import now
from shoudan_console.values import Status, moment_of
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit
from shoudan_kit.clock import BEIJING
from shoudan_kit.rpc.refusal import Refused

PATH: Final = "/finance/exceptions"
SHEET: Final = "/finance/sheets/exceptions.xlsx"
TOGETHER: Final = "/finance/decide-several"
TEXT_MAX: Final = 256
WORDS_MAX: Final = 1024
LETTER_MAX: Final = 4096
DEADLINE_DAYS: Final = 14
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
# Where each of them moves the difference, in the words of the people who book it.
BOOKED_TO: Final = {
    1: _("to the overage and shortage account of the source"),
    2: _("to the write-off account of the source"),
    3: _("to the supplier's own account"),
    4: _("to the supplier's own account, after the order's money has gone back to its channel"),
}
# Those that make sense for several: a refund is of one order, with a reason of its own.
TOGETHER_DECISIONS: Final = (1, 2, 3)
DECIDABLE: Final = frozenset({10, 20, 30})
OUTCOMES: Final = {"success": _("Succeeded"), "failed": _("Failed"), "unknown": _("Unknown")}
FIELDS: Final = {
    "our_no": _("Our number"),
    "their_no": _("Their number"),
    "account": _("Account"),
    "face_micros": _("Face"),
    "amount_micros": _("Amount"),
    "outcome": _("Outcome"),
}
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

    @property
    def decidable(self) -> bool:
        return self.status.number in DECIDABLE


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
        dispute_id=int(query.text("dispute") or 0),
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
        Filter("dispute", _("Dispute"), "number"),
    ),
    link=lambda row: row.path,
    template="finance_exceptions.html",
    more={
        "deciding": calls.DECIDE_EXCEPTIONS,
        "sheet": SHEET,
        "together": TOGETHER,
        "together_decisions": TOGETHER_DECISIONS,
        "decisions": DECISIONS,
        "problem": "",
    },
)


@dataclass(frozen=True, slots=True)
class Said:
    """What the page says of the form that was sent: what was wrong, what waits, what is to be looked at."""

    problem: str = ""
    proposal: Any = None
    chosen: int = 0  # the decision that is to be looked at before it is booked
    remark: str = ""


NOTHING: Final = Said()


async def show(visit: Visit, said: Said = NOTHING) -> Response:
    """One difference: both sides, what is known elsewhere, what was noted, and the forms."""
    exception_id = number_in(visit, "exception_id")
    request = pb.GetExceptionRequest(exception_id=exception_id)
    found = await visit.ask(calls.GET_EXCEPTION, request)
    evidence = pb.GetEvidenceRequest(exception_id=exception_id)
    panels = await visit.panels(evidence=visit.ask(calls.GET_EVIDENCE, evidence))
    one = found.exception
    sides = ((_("Ours"), "ours"), (_("Theirs"), "theirs"))
    soon = now().astimezone(BEIJING).date() + timedelta(days=DEADLINE_DAYS)
    return visit.render(
        "finance_exception.html",
        400 if said.problem else 200,
        row=row_of(one),
        one=one,
        outcomes=OUTCOMES,
        sides=[(word, getattr(one, name)) for word, name in sides if one.HasField(name)],
        differs={FIELDS.get(name, name): name for name in one.differing},
        end_time=moment_of(one.end_time),
        notes=[(NOTES.get(note.kind, note.kind), note) for note in found.notes],
        disputes=[disputes.row_of(one) for one in found.disputes],
        evidence=panels["evidence"],
        decisions=DECISIONS,
        booked_to=BOOKED_TO,
        open=one.status in DECIDABLE,
        may_decide=visit.may(calls.DECIDE_EXCEPTIONS),
        may_assign=visit.may(calls.ASSIGN_EXCEPTIONS),
        may_comment=visit.may(calls.COMMENT_EXCEPTION),
        may_ask=visit.may(calls.ASK_ABOUT_EXCEPTIONS),
        may_resend=visit.may(calls.RESEND_EXCEPTION_NOTIFIES),
        may_dispute=visit.may(calls.OPEN_DISPUTE),
        soon=soon,
        once=visit.form.get("once", "") or secrets.token_hex(16),
        said=said,
        now=now(),
    )


async def act(visit: Visit) -> Response:
    """What the page's forms do. Those that change nothing by themselves go back to the page."""
    exception_id = number_in(visit, "exception_id")
    does = visit.form.get("do", "")
    try:
        if does in ACTS:
            return await ACTS[does](visit, exception_id)
        return await _decide(visit, exception_id, look=does == "look")
    except Refused as refused:
        if refused.reason.endswith(("NOT_ALLOWED", "NOT_FOUND")):
            raise
        return await show(visit, Said(str(refused)))


def _words(visit: Visit, field: str, most: int) -> str:
    """What was written; empty when it was nothing, or too much."""
    text = visit.form.get(field, "").strip()
    return text if len(text) <= most else ""


async def _take(visit: Visit, exception_id: int) -> Response:
    me = visit.known.operator
    asked = pb.AssignExceptionsRequest(exception_ids=[exception_id], assignee=me, by=me)
    await visit.ask(calls.ASSIGN_EXCEPTIONS, asked)
    return visit.redirect(f"{PATH}/{exception_id}", done="take")


async def _comment(visit: Visit, exception_id: int) -> Response:
    """Note something, with a file when one was chosen."""
    text = _words(visit, "text", WORDS_MAX)
    if not text:
        return await show(visit, Said(_("Write something, in at most 1024 characters.")))
    noted = pb.CommentExceptionRequest(
        exception_id=exception_id, text=text, by=visit.known.operator
    )
    if visit.file is not None and visit.file.size:
        file = await uploads.store(visit, visit.file)
        noted.sha256, noted.file_name = file.sha256, file.name
    await visit.ask(calls.COMMENT_EXCEPTION, noted)
    return visit.redirect(f"{PATH}/{exception_id}", done="comment")


async def _ask_supplier(visit: Visit, exception_id: int) -> Response:
    """Note the question; a supplier that can be queried is queried once. It ends nothing."""
    text = _words(visit, "text", WORDS_MAX)
    if not text:
        return await show(visit, Said(_("Write something, in at most 1024 characters.")))
    asked = pb.AskAboutExceptionsRequest(
        exception_ids=[exception_id], text=text, by=visit.known.operator
    )
    await visit.ask(calls.ASK_ABOUT_EXCEPTIONS, asked)
    return visit.redirect(f"{PATH}/{exception_id}", done="asked")


async def _resend(visit: Visit, exception_id: int) -> Response:
    """Have the channel behind it notified again."""
    asked = pb.ResendExceptionNotifiesRequest(exception_ids=[exception_id], by=visit.known.operator)
    await visit.ask(calls.RESEND_EXCEPTION_NOTIFIES, asked)
    return visit.redirect(f"{PATH}/{exception_id}", done="resend")


async def _dispute(visit: Visit, exception_id: int) -> Response:
    """Hold it against its source, with a letter and a deadline."""
    letter, deadline = _words(visit, "letter", LETTER_MAX), visit.form.get("deadline", "")
    if not letter or moment_in(deadline) is None:
        return await show(
            visit, Said(_("Write the letter, and the day until which it is answered."))
        )
    request = pb.GetExceptionRequest(exception_id=exception_id)
    one = (await visit.ask(calls.GET_EXCEPTION, request)).exception
    opened = pb.OpenDisputeRequest(
        source=one.source,
        exception_ids=[exception_id],
        letter=letter,
        deadline=deadline[:10],
        by=visit.known.operator,
    )
    await visit.ask(calls.OPEN_DISPUTE, opened)
    return visit.redirect(f"{PATH}/{exception_id}", done="dispute")


ACTS: Final[Mapping[str, Callable[[Visit, int], Awaitable[Response]]]] = {
    "take": _take,
    "comment": _comment,
    "ask": _ask_supplier,
    "resend": _resend,
    "dispute": _dispute,
}


async def _decide(visit: Visit, exception_id: int, *, look: bool) -> Response:
    """Show what would be booked, or propose it: another person approves it, and then it is booked. Sent
    twice, it counts once."""
    form = visit.form
    decision, remark = form.get("decision", ""), form.get("remark", "").strip()
    if decision not in map(str, DECISIONS) or not remark or len(remark) > TEXT_MAX:
        wrong = _("Choose a decision and say why, in at most 256 characters.")
        return await show(visit, Said(wrong))
    if not visit.known.proved:
        return visit.redirect("/prove", next=f"{PATH}/{exception_id}")
    if look:
        return await show(visit, Said(chosen=int(decision), remark=remark))
    chosen: Any = int(decision)
    item = pb.DecideExceptionsRequest.Item(
        exception_id=exception_id, decision=chosen, remark=remark
    )
    request = pb.DecideExceptionsRequest(items=[item], by=visit.known.operator)
    once = form.get("once", "")[:64]
    answer = await call_or_propose(visit, calls.DECIDE_EXCEPTIONS, request, remark, once)
    if isinstance(answer, proposal_pb.Proposal):
        return await show(visit, Said(proposal=answer))
    return visit.redirect(f"{PATH}/{exception_id}", done="decided")


PAGES: Final = (
    *listing_pages(LISTING),
    Page("/finance/exceptions/{exception_id}", show, act, upload=True),
)
NAVIGATION: Final = (Entry(PATH, _("Exceptions"), _("Money"), (calls.LIST_EXCEPTIONS,)),)
