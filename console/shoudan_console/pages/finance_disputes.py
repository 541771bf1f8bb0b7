"""Disputes with suppliers: our letter, its deadline, and the answer that opens its differences again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from starlette.responses import Response

from shoudan.finance.v1 import exception_service_pb2 as pb
from shoudan_console import finance_calls as calls
from shoudan_console import uploads
from shoudan_console.lists import Column, Found, Listing, Query
from shoudan_console.page import Entry, Page, listing_pages
from shoudan_console.pages.order import number_in
from shoudan_console.values import Status, moment_of
from shoudan_console.values import mark as _
from shoudan_console.visits import Missing, Visit
from shoudan_kit.clock import BEIJING
from shoudan_kit.rpc.refusal import Refused

PATH: Final = "/finance/disputes"
ANSWER_MAX: Final = 4096
OPEN: Final = 10
PAGE: Final = 1000
PAGES_MAX: Final = 10  # looked through for one dispute
WAITS: Final = (_("Not answered yet"), "busy")
OVERDUE: Final = (_("Overdue"), "bad")
ANSWERED: Final = (_("Answered"), "good")


@dataclass(frozen=True, slots=True)
class Row:
    """One dispute."""

    dispute_id: int
    source: str
    status: Status
    letter: str
    deadline: str
    answer: str
    answer_sha256: str
    exceptions: int
    diff_micros: int
    by: str
    create_time: datetime
    answer_time: datetime | None

    @property
    def path(self) -> str:
        return f"{PATH}/{self.dispute_id}"

    @property
    def open(self) -> bool:
        return self.status.number == OPEN


def row_of(one: Any) -> Row:
    """A dispute as the service gives it; overdue by Beijing's day."""
    today = datetime.now(UTC).astimezone(BEIJING).date().isoformat()
    word = (OVERDUE if one.deadline < today else WAITS) if one.status == OPEN else ANSWERED
    return Row(
        one.dispute_id,
        one.source,
        Status(*word, one.status),
        one.letter,
        one.deadline,
        one.answer,
        one.answer_sha256.hex(),
        one.exceptions,
        one.diff_micros,
        one.by,
        one.create_time.ToDatetime(UTC),
        moment_of(one.answer_time),
    )


async def fetch(visit: Visit, query: Query) -> Found:
    """A page of disputes, newest first."""
    request = pb.ListDisputesRequest(page_size=query.size, page_token=query.token)
    answer = await visit.ask(calls.LIST_DISPUTES, request)
    return Found([row_of(one) for one in answer.disputes], answer.next_page_token)


LISTING: Final = Listing(
    name="finance-disputes",
    path=PATH,
    title=_("Disputes"),
    intro=_("What is held against a supplier. Its answer opens the differences again, to be decided."),
    columns=(
        Column("dispute_id", _("Dispute"), lambda row: row.dispute_id, "code", lambda row: row.path),
        Column("source", _("Source"), lambda row: row.source),
        Column("status", _("Status"), lambda row: row.status, "status"),
        Column("deadline", _("Until"), lambda row: row.deadline, "code"),
        Column("exceptions", _("Exceptions"), lambda row: row.exceptions, "number", small=False),
        Column("diff", _("Difference"), lambda row: row.diff_micros, "money"),
        Column("by", _("Opened by"), lambda row: row.by, small=False),
        Column("create_time", _("Opened"), lambda row: row.create_time, "time", small=False),
    ),
    fetch=fetch,
    empty=_("No dispute. One is opened on the page of a difference."),
    link=lambda row: row.path,
)  # fmt: skip


async def _found(visit: Visit) -> Row:
    """The dispute that the address names. Raises Missing."""
    number = number_in(visit, "dispute_id")
    request = pb.ListDisputesRequest(page_size=PAGE)
    for _page in range(PAGES_MAX):
        answer = await visit.ask(calls.LIST_DISPUTES, request)
        for one in answer.disputes:
            if one.dispute_id == number:
                return row_of(one)
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    raise Missing


async def show(visit: Visit, problem: str = "") -> Response:
    """One dispute, and the form of its answer."""
    return visit.render(
        "finance_dispute.html",
        400 if problem else 200,
        row=await _found(visit),
        may=visit.may(calls.ANSWER_DISPUTE),
        problem=problem,
    )


async def answer(visit: Visit) -> Response:
    """Note what was answered, with its file. Sent twice, the first answer stays."""
    number = number_in(visit, "dispute_id")
    words = visit.form.get("answer", "").strip()
    if not words or len(words) > ANSWER_MAX:
        return await show(visit, _("Write what was answered, in at most 4096 characters."))
    request = pb.AnswerDisputeRequest(dispute_id=number, answer=words, by=visit.known.operator)
    try:
        if visit.file is not None and visit.file.size:
            request.sha256 = (await uploads.store(visit, visit.file)).sha256
        await visit.ask(calls.ANSWER_DISPUTE, request)
    except Refused as refused:
        if refused.reason.endswith(("NOT_ALLOWED", "NOT_FOUND")):
            raise
        return await show(visit, str(refused))
    return visit.redirect(f"{PATH}/{number}", done="answer")


PAGES: Final = (
    *listing_pages(LISTING),
    Page("/finance/disputes/{dispute_id}", show, answer, upload=True),
)
NAVIGATION: Final = (Entry(PATH, _("Disputes"), _("Money"), (calls.LIST_DISPUTES,)),)
