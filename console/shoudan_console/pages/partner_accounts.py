"""The accounts of a partner's own people: invited, taken back, let in again."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from shoudan.identity.v1 import identity_service_pb2 as pb
from shoudan.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from shoudan.order.v1 import catalogue_service_pb2 as catalogue_pb
from shoudan_console import calls
from shoudan_console.backend import Rpc
from shoudan_console.page import Page
from shoudan_console.values import mark as _
from shoudan_console.visits import Missing, Visit
from shoudan_kit.rpc.refusal import Refused

PATH: Final = "/partners/{channel}/accounts"
ACCOUNTS_MAX: Final = 200
NAME_MAX: Final = 40


def _of(method: str) -> Rpc:
    return Rpc("identity", IdentityServiceStub, f"shoudan.identity.v1.IdentityService/{method}")


INVITE: Final = _of("CreateOperator")
DISABLE: Final = _of("DisableOperator")
ENABLE: Final = _of("EnableOperator")
RESET: Final = _of("ResetOperator")
REASONS: Final = {
    "ERROR_REASON_NAME_TAKEN": _("This login name is taken."),
    "ERROR_REASON_FIELD_INVALID": _("A login name has small letters, digits, - . and _ alone."),
}


async def show(visit: Visit, problem: str = "", invited: Any = None) -> Response:
    """The accounts of one channel; a password is shown in the answer that made it alone."""
    number = visit.request.path_params["channel"]
    found = await _accounts(visit, number)
    return visit.render(
        "partner_accounts.html",
        400 if problem else 200,
        channel=number,
        accounts=found,
        problem=problem,
        invited=invited,
    )


async def _accounts(visit: Visit, number: str) -> Any:
    request = pb.ListOperatorsRequest(channel_no=number, page_size=ACCOUNTS_MAX)
    return (await visit.ask(calls.LIST_OPERATORS, request)).operators


async def act(visit: Visit) -> Response:
    """Invite, disable, enable or reset; an account of another channel is none here."""
    number, form = visit.request.path_params["channel"], visit.form
    name, do = form.get("name", "").strip().lower()[:NAME_MAX], form.get("do", "")
    if not visit.known.proved:
        return visit.redirect("/prove", next=visit.path)
    try:
        if do == "invite":
            return await _invite(visit, number, name)
        if name not in {one.name for one in await _accounts(visit, number)}:
            raise Missing
        if do == "reset":
            made = await visit.ask(RESET, pb.ResetOperatorRequest(name=name))
            return await show(visit, invited=made)
    except Refused as refused:
        if (words := REASONS.get(refused.reason)) is None:
            raise
        return await show(visit, words)
    if do == "disable":
        await visit.ask(DISABLE, pb.DisableOperatorRequest(name=name))
    elif do == "enable":
        await visit.ask(ENABLE, pb.EnableOperatorRequest(name=name))
    else:
        raise Missing
    return visit.redirect(visit.path, done=do)


async def _invite(visit: Visit, number: str, name: str) -> Response:
    """A new account of a channel that there is."""
    found = await visit.ask(calls.GET_CATALOGUE, catalogue_pb.GetCatalogueRequest())
    if number not in {one.channel_no for one in found.catalogue.down_channels}:
        raise Missing
    shown = visit.form.get("display_name", "").strip()[:80]
    request = pb.CreateOperatorRequest(name=name, display_name=shown, channels=[number])
    return await show(visit, invited=await visit.ask(INVITE, request))


PAGES: Final = (Page(PATH, show, act),)
