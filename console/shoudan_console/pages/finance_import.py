"""Importing a statement: a file is chosen, read, looked at, and then imported whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response

from shoudan.finance.v1 import statement_service_pb2 as pb
from shoudan_console import finance_calls as calls
from shoudan_console import uploads
from shoudan_console.page import Page
from shoudan_console.pages import finance_statements
from shoudan_console.pages.finance_exceptions import OUTCOMES
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit
from shoudan_kit.rpc.refusal import Refused

PATH: Final = finance_statements.NEW
REASON_MAX: Final = 256
DIGITS_MAX: Final = 19
KINDS: Final = {
    "delivery": _("Delivery"),
    "return": _("Return"),
    "pay": _("Payment"),
    "refund": _("Refund"),
    "settlement": _("Settlement"),
    "fee": _("Fee"),
    "transfer": _("Bank transfer"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the forms say: how a file is read, and what it corrects."""

    template: str
    source: str
    supersedes: int
    reason: str

    @classmethod
    def of(cls, visit: Visit) -> Asked | None:
        """None when the number of a statement is none."""
        form = visit.form
        number = form.get("supersedes", "").strip()
        if number and not (number.isascii() and number.isdecimal() and len(number) <= DIGITS_MAX):
            return None
        reason = form.get("reason", "").strip()[:REASON_MAX]
        source = form.get("source", "").strip()
        return cls(form.get("template", ""), source, int(number or 0), reason)

    def request(self, file: uploads.Stored, by: str, *, dry_run: bool) -> pb.ImportStatementRequest:
        """The call."""
        return pb.ImportStatementRequest(
            sha256=file.sha256,
            parts=file.parts,
            file_name=file.name,
            template=self.template,
            source=self.source,
            supersedes=self.supersedes,
            reason=self.reason,
            dry_run=dry_run,
            by=by,
        )


async def show(visit: Visit, problem: str = "") -> Response:
    """The form; after an import what was imported."""
    number = visit.query.get("done", "")
    found = (await visit.ask(calls.LIST_TEMPLATES, pb.ListTemplatesRequest())).templates
    done = None
    if number.isascii() and number.isdecimal() and len(number) <= DIGITS_MAX:
        request = pb.GetStatementRequest(statement_id=int(number))
        done = (await visit.ask(calls.GET_STATEMENT, request)).statement
    return visit.render(
        "finance_import.html",
        400 if problem else 200,
        problem=problem,
        templates=found,
        may=visit.may(calls.IMPORT_STATEMENT),
        done=done,
        before="before" in visit.query,
    )


async def act(visit: Visit) -> Response:
    """Read the file that was sent, or import the one that was read before."""
    asked = Asked.of(visit)
    if asked is None:
        return await show(visit, _("The statement that is corrected is a number."))
    try:
        if visit.form.get("do") == "import":
            return await _imported(visit, asked)
        if visit.file is None or not visit.file.size:
            return await show(visit, _("Choose a file that is not empty."))
        return await _read(visit, asked, await uploads.store(visit, visit.file))
    except Refused as refused:
        if refused.reason.endswith("NOT_ALLOWED"):
            raise
        return await show(visit, str(refused))


async def _read(visit: Visit, asked: Asked, file: uploads.Stored) -> Response:
    """What the file would come to, and what is wrong with it; nothing is imported."""
    request = asked.request(file, visit.known.operator, dry_run=True)
    found: Any = await visit.ask(calls.IMPORT_STATEMENT, request, calls.LONG_S)
    if found.existed:
        return visit.redirect(PATH, done=str(found.statement.statement_id), before="yes")
    return visit.render(
        "finance_import_read.html",
        file=file,
        asked=asked,
        row=finance_statements.row_of(found.statement),
        errors=found.errors,
        error_count=found.error_count,
        preview=found.preview,
        kinds=KINDS,
        outcomes=OUTCOMES,
    )


async def _imported(visit: Visit, asked: Asked) -> Response:
    """Import it. Sent twice it is one statement, as the file is the same."""
    form = visit.form
    try:
        file = uploads.Stored(
            bytes.fromhex(form.get("sha256", "")[:64]),
            int(form.get("parts", "0")[:6]),
            uploads.plain_name(form.get("file_name", "")),
        )
    except ValueError:
        return await show(visit, _("Choose a file that is not empty."))
    request = asked.request(file, visit.known.operator, dry_run=False)
    try:
        found: Any = await visit.ask(calls.IMPORT_STATEMENT, request, calls.LONG_S)
    except Refused as refused:
        if not refused.reason.endswith("STATEMENT_INVALID"):
            raise
        return await _read(visit, asked, file)  # nothing was imported: all that is wrong is shown
    more = {"before": "yes"} if found.existed else {}
    return visit.redirect(PATH, done=str(found.statement.statement_id), **more)


PAGES: Final = (Page(PATH, show, act, upload=True),)
