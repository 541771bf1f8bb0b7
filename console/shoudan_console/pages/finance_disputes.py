"""Disputes with suppliers: our letter, its deadline, and the answer that opens its differences again."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from shoudan.finance.v1 import exception_service_pb2 as pb
from shoudan_console import disputes, uploads
from shoudan_console import finance_calls as calls
from shoudan_console.lists import Column, Found, Listing, Query
from shoudan_console.page import Entry, Page, listing_pages
from shoudan_console.pages import finance_exceptions as exceptions
from shoudan_console.pages.order import number_in
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit
from shoudan_kit.rpc.refusal import Refused

PATH: Final = disputes.PATH
ANSWER_MAX: Final = 4096
SHOWN: Final = 100  # exceptions on the page; the list has them all


async def fetch(visit: Visit, query: Query) -> Found:
    """A page of disputes, newest first."""
    request = pb.ListDisputesRequest(page_size=query.size, page_token=query.token)
    answer = await visit.ask(calls.LIST_DISPUTES, request)
    return Found([disputes.row_of(one) for one in answer.disputes], answer.next_page_token)


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


async def _found(visit: Visit) -> disputes.Row:
    """The dispute that the address names."""
    request = pb.GetDisputeRequest(dispute_id=number_in(visit, "dispute_id"))
    return disputes.row_of((await visit.ask(calls.GET_DISPUTE, request)).dispute)


async def show(visit: Visit, problem: str = "") -> Response:
    """One dispute, its exceptions, and the form of its answer."""
    row = await _found(visit)
    request = pb.ListExceptionsRequest(dispute_id=row.dispute_id, page_size=SHOWN)
    panels = await visit.panels(exceptions=visit.ask(calls.LIST_EXCEPTIONS, request))
    return visit.render(
        "finance_dispute.html",
        400 if problem else 200,
        row=row,
        panel=panels["exceptions"],
        exception_row=exceptions.row_of,
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
