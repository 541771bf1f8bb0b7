"""Differences decided in a workbook: downloaded, filled in, uploaded, looked at, and proposed as one."""

from __future__ import annotations

import secrets
from typing import Any, Final

from starlette.responses import Response

from shoudan.core.v1 import proposal_service_pb2 as proposal_pb
from shoudan.finance.v1 import exception_service_pb2 as pb
from shoudan_console import finance_calls as calls
from shoudan_console import uploads
from shoudan_console.page import Page
from shoudan_console.pages import finance_exceptions as exceptions
from shoudan_console.proposing import call_or_propose
from shoudan_console.values import mark as _
from shoudan_console.visits import Missing, Visit
from shoudan_kit.rpc.refusal import Refused

PATH: Final = "/finance/decide"
REASON_MAX: Final = 256
WORKBOOK: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


async def download(visit: Visit) -> Response:
    """The undecided differences of a source, or of all, as a workbook."""
    if visit.path != exceptions.SHEET:
        raise Missing
    request = pb.GetExceptionSheetRequest(source=visit.query.get("source", ""))
    found: Any = await visit.ask(calls.GET_EXCEPTION_SHEET, request, calls.LONG_S)
    name = {"content-disposition": 'attachment; filename="exceptions.xlsx"'}
    return Response(found.data, media_type=WORKBOOK, headers=name)


async def show(visit: Visit, problem: str = "", proposal: Any = None) -> Response:
    """The form that takes a workbook."""
    return visit.render(
        "finance_decide.html",
        400 if problem else 200,
        problem=problem,
        proposal=proposal,
        sheet=exceptions.SHEET,
        may=visit.may(calls.DECIDE_EXCEPTIONS),
    )


async def act(visit: Visit) -> Response:
    """Read the workbook that was sent, or decide as the one says that was read before."""
    try:
        if visit.form.get("do") == "decide":
            return await _decide(visit)
        if visit.file is None or not visit.file.size:
            return await show(visit, _("Choose a file that is not empty."))
        return await _read(visit, await uploads.store(visit, visit.file))
    except Refused as refused:
        if refused.reason.endswith("NOT_ALLOWED"):
            raise
        return await show(visit, str(refused))


async def _said(visit: Visit, file: uploads.Stored) -> Any:
    request = pb.CheckExceptionSheetRequest(sha256=file.sha256, parts=file.parts)
    return await visit.ask(calls.CHECK_EXCEPTION_SHEET, request, calls.LONG_S)


async def _read(visit: Visit, file: uploads.Stored) -> Response:
    """What it would decide, beside what is; it decides nothing."""
    found = await _said(visit, file)
    return visit.render(
        "finance_decide_read.html",
        file=file,
        items=[(exceptions.row_of(one.exception), one) for one in found.items],
        errors=found.row_errors,
        error_count=found.error_count,
        decisions=exceptions.DECISIONS,
        sum_micros=sum(one.exception.diff_micros for one in found.items),
        once=secrets.token_hex(16),
    )


async def _decide(visit: Visit) -> Response:
    """Propose all of it, or nothing when something of it is wrong by now. Sent twice, it counts once."""
    form = visit.form
    reason = form.get("reason", "").strip()
    if not reason or len(reason) > REASON_MAX:
        return await show(visit, _("Say why, in at most 256 characters."))
    if not visit.known.proved:
        return visit.redirect("/prove", next=PATH)
    try:
        sha256, parts = bytes.fromhex(form.get("sha256", "")[:64]), int(form.get("parts", "")[:6])
    except ValueError:
        return await show(visit, _("Choose a file that is not empty."))
    file = uploads.Stored(sha256, parts, uploads.plain_name(form.get("file_name", "")))
    found = await _said(visit, file)
    if found.error_count or not found.items:
        return await _read(visit, file)
    item = pb.DecideExceptionsRequest.Item
    items = [
        item(exception_id=one.exception.exception_id, decision=one.decision, remark=one.remark)
        for one in found.items
    ]
    request = pb.DecideExceptionsRequest(items=items, by=visit.known.operator)
    once = form.get("once", "")[:64]
    answer = await call_or_propose(visit, calls.DECIDE_EXCEPTIONS, request, reason, once)
    if isinstance(answer, proposal_pb.Proposal):
        return await show(visit, proposal=answer)
    return visit.redirect(exceptions.PATH, done="decided", key=str(len(items)))


PAGES: Final = (Page("/finance/sheets/{name}", download), Page(PATH, show, act, upload=True))
