"""Personal data of ERPs on request: a person's erased after a look at what, a push revealed with a reason."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response

from shoudan.erp.v1 import erp_service_pb2 as pb
from shoudan_console.page import Entry, Page
from shoudan_console.pages import erp
from shoudan_console.pages.order import number_in
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit
from shoudan_kit.rpc.refusal import Refused

PATH: Final = "/erp/erase"
LISTED_MAX: Final = 100  # documents shown of each kind; all of them are erased
BODY_CHARS_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class Held:
    """What is kept of a person, as far as it is shown; `more`: there are further documents."""

    trades: Sequence[erp.Row]
    returns: Sequence[erp.Row]
    more: bool


async def held(visit: Visit, phone: str) -> Held:
    """What has this phone. Raises Refused, Away."""
    chosen = pb.Filter(phone=phone)
    trades, returns = await asyncio.gather(
        visit.ask(erp.SEARCH_TRADES, pb.SearchTradesRequest(filter=chosen, page_size=LISTED_MAX)),
        visit.ask(erp.SEARCH_REFUNDS, pb.SearchRefundsRequest(filter=chosen, page_size=LISTED_MAX)),
    )
    return Held(
        [erp.row_of("trades", one) for one in trades.trades],
        [erp.row_of("returns", one) for one in returns.refunds],
        bool(trades.next_page_token or returns.next_page_token),
    )


async def show(visit: Visit, problem: str = "", **more: Any) -> Response:
    """The form; after a look, what would be erased, and after that how much was."""
    known: dict[str, Any] = {"phone": "", "found": None, "erased": None, **more}
    return visit.render(
        "erp_erase.html",
        400 if problem else 200,
        problem=problem,
        may=visit.may(erp.ERASE),
        **known,
    )


async def act(visit: Visit) -> Response:
    """Look at what a person's phone is in, or erase it there for good. A repeat erases nothing more."""
    phone, reason = visit.form.get("phone", "").strip(), visit.form.get("reason", "").strip()
    try:
        if visit.form.get("do") != "erase":
            return await show(visit, phone=phone, found=await held(visit, phone))
        if not reason or len(reason) > erp.REASON_MAX:
            why = _("Say why, in at most 256 characters.")
            return await show(visit, why, phone=phone, found=await held(visit, phone))
        if not visit.known.proved:
            return visit.redirect("/prove", next=PATH)
        request = pb.EraseSubjectRequest(phone=phone, by=visit.known.operator, reason=reason)
        done = await visit.ask(erp.ERASE, request)
    except Refused as refused:
        if refused.reason.endswith("NOT_ALLOWED"):
            raise
        return await show(visit, str(refused), phone=phone)
    return await show(visit, erased=done.documents)


async def show_push(visit: Visit, problem: str = "", **more: Any) -> Response:
    """One push: nothing of it before a reason was given."""
    known: dict[str, Any] = {"sender": "", "kind": "", "body": None, **more}
    return visit.render(
        "erp_push.html",
        400 if problem else 200,
        push_id=number_in(visit, "push_id"),
        may=visit.may(erp.REVEAL_PUSH),
        problem=problem,
        **known,
    )


async def reveal_push(visit: Visit) -> Response:
    """Show its exact body; the service writes who, what and why into its audit log."""
    push_id, reason = number_in(visit, "push_id"), visit.form.get("reason", "").strip()
    if not reason or len(reason) > erp.REASON_MAX:
        return await show_push(visit, _("Say why, in at most 256 characters."))
    request = pb.RevealPushRequest(push_id=push_id, by=visit.known.operator, reason=reason)
    answer = await visit.ask(erp.REVEAL_PUSH, request)
    body = answer.body.decode("utf-8", "backslashreplace")[:BODY_CHARS_MAX]
    return await show_push(
        visit, sender=answer.sender, kind=erp.KINDS.get(answer.kind, ""), body=body
    )


PAGES: Final = (
    Page(PATH, show, act),
    Page("/erp/quarantined/{push_id}", show_push, reveal_push),
)
NAVIGATION: Final = (Entry(PATH, _("Erase a person"), _("Platforms"), (erp.ERASE,)),)
