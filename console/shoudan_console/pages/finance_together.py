"""Several differences decided together: ticked in the list, looked at one by one and in sum, proposed as one.

The look is an address, so that it needs no scripts and is there again behind password and code. What cannot
be decided so is shown with its reason and left out; what was looked at is then proposed whole or not at all.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response

from shoudan.core.v1 import proposal_service_pb2 as proposal_pb
from shoudan.finance.v1 import exception_service_pb2 as pb
from shoudan_console import finance_calls as calls
from shoudan_console import lists
from shoudan_console.page import Page
from shoudan_console.pages import finance_exceptions as exceptions
from shoudan_console.proposing import call_or_propose
from shoudan_console.values import mark as _
from shoudan_console.visits import Missing, Visit
from shoudan_kit.rpc.refusal import Refused

PATH: Final = exceptions.TOGETHER
DIGITS_MAX: Final = 19
WHY_NOT: Final = {
    "ERROR_REASON_EXCEPTION_NOT_FOUND": _("There is no such difference."),
    "ERROR_REASON_EXCEPTION_DECIDED": _("It is decided by now, or its counterpart has come."),
    "ERROR_REASON_FIELD_INVALID": _(
        "This decision does not fit it: it is about no supplier's cost."
    ),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be done about which of them, and why."""

    numbers: Sequence[int]
    decision: int
    remark: str

    def items(self) -> list[pb.DecideExceptionsRequest.Item]:
        """As the service is asked."""
        chosen: Any = self.decision
        item = pb.DecideExceptionsRequest.Item
        return [item(exception_id=one, decision=chosen, remark=self.remark) for one in self.numbers]


def _asked(given: Any) -> Asked | None:
    """What an address or a form says; None when something is not said. Raises Missing for no number."""
    ticked = list(dict.fromkeys(given.getlist("item")))
    if not all(one.isascii() and one.isdecimal() and len(one) <= DIGITS_MAX for one in ticked):
        raise Missing
    if len(ticked) > max(lists.SIZES):
        raise Missing
    decision, remark = given.get("decision", ""), given.get("remark", "").strip()
    known = decision in map(str, exceptions.TOGETHER_DECISIONS)
    if not ticked or not known or not remark or len(remark) > exceptions.TEXT_MAX:
        return None
    return Asked([int(one) for one in ticked], int(decision), remark)


async def look(visit: Visit) -> Response:
    """What would be booked of what was ticked; it decides nothing."""
    asked = _asked(visit.query)
    if asked is None:
        problem = _("Tick what is to be decided, choose a decision and say why.")
        return await lists.show(exceptions.LISTING, visit, problem=problem)
    return await _show(visit, asked)


async def _show(visit: Visit, asked: Asked, problem: str = "") -> Response:
    request = pb.CheckDecisionsRequest(items=asked.items())
    found: Any = await visit.ask(calls.CHECK_DECISIONS, request)
    fit = [one for one in found.results if not one.HasField("refusal")]
    unfit = [
        (one.exception_id, WHY_NOT.get(one.refusal.reason, one.refusal.reason))
        for one in found.results
        if one.HasField("refusal")
    ]
    return visit.render(
        "finance_together.html",
        400 if problem else 200,
        problem=problem,
        asked=asked,
        decision=exceptions.DECISIONS[asked.decision],
        fit=[(exceptions.row_of(one.exception), one.booking) for one in fit],
        unfit=unfit,
        sums=found.sums,
        sum_micros=sum(one.amount_micros for one in found.sums),
        may=visit.may(calls.DECIDE_EXCEPTIONS),
        once=visit.form.get("once", "") or secrets.token_hex(16),
        back=exceptions.PATH,
    )


async def act(visit: Visit) -> Response:
    """Propose what was looked at, all of it or nothing. Sent twice, it counts once."""
    asked = _asked(visit.form)
    if asked is None:
        raise Missing
    if not visit.known.proved:
        return visit.redirect("/prove", next=exceptions.PATH)
    request = pb.DecideExceptionsRequest(items=asked.items(), by=visit.known.operator)
    once = visit.form.get("once", "")[:64]
    try:
        answer = await call_or_propose(visit, calls.DECIDE_EXCEPTIONS, request, asked.remark, once)
    except Refused as refused:
        if refused.reason.endswith("NOT_ALLOWED"):
            raise
        changed = _("Something has changed since you looked: nothing was decided. Look again.")
        return await _show(visit, asked, changed)
    if isinstance(answer, proposal_pb.Proposal):
        return visit.render("finance_together_proposed.html", proposal=answer, back=exceptions.PATH)
    return visit.redirect(exceptions.PATH, done="decided", key=str(answer.decided))


PAGES: Final = (Page(PATH, look, act),)
