"""Operators made, given roles, taken out and let in again; API tokens made and revoked."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from shoudan.identity.v1 import identity_service_pb2 as pb
from shoudan.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from shoudan_console import lists
from shoudan_console.backend import Rpc
from shoudan_console.page import Page
from shoudan_console.pages import operators
from shoudan_console.pages.operators import CREATE, LISTING, ME, PATH
from shoudan_console.values import mark as _
from shoudan_console.visits import Missing, Visit
from shoudan_kit.rpc.refusal import Refused
from shoudan_kit.rpc.rights import ROLES

NAME_MAX: Final = 40
SHOWN_MAX: Final = 80
DAYS_MAX: Final = 366
REASONS: Final = {
    "ERROR_REASON_NAME_TAKEN": _("This name is taken."),
    "ERROR_REASON_FIELD_INVALID": _("A name has small letters, digits, - . and _ alone."),
    "ERROR_REASON_LAST_ADMIN": _("This is the last administrator: make another one first."),
    "ERROR_REASON_TOKENS_FULL": _("There are too many tokens: revoke one first."),
}


def _of(method: str) -> Rpc:
    return Rpc("identity", IdentityServiceStub, f"shoudan.identity.v1.IdentityService/{method}")


SET_ROLES: Final = _of("SetRoles")
DISABLE: Final = _of("DisableOperator")
ENABLE: Final = _of("EnableOperator")
RESET: Final = _of("ResetOperator")
ADD_TOKEN: Final = _of("CreateApiToken")
REVOKE_TOKEN: Final = _of("RevokeApiToken")


def _roles(visit: Visit) -> list[str]:
    """Those ticked; what is no role is left out."""
    ticked = visit.form.getlist("role")
    return [one for one in ROLES if one in ticked]


async def create(visit: Visit) -> Response:
    """A new operator; its password is shown in this answer alone. Sent twice, the name is taken."""
    if not visit.known.proved:
        return visit.redirect("/prove", next=PATH)
    name = visit.form.get("name", "").strip().lower()[:NAME_MAX]
    shown = visit.form.get("display_name", "").strip()[:SHOWN_MAX]
    request = pb.CreateOperatorRequest(name=name, display_name=shown, roles=_roles(visit))
    try:
        made = await visit.ask(CREATE, request)
    except Refused as refused:
        if refused.reason not in REASONS:
            raise
        return await lists.show(LISTING, visit, problem=REASONS[refused.reason])
    return await lists.show(LISTING, visit, made=made)


async def change(visit: Visit) -> Response:
    """Give an operator other roles, take it out, let it in again, or invite it anew."""
    name: str = visit.request.path_params["name"]
    path = f"{PATH}/{name}"
    if not visit.known.proved:
        return visit.redirect("/prove", next=path)
    try:
        match visit.form.get("do"):
            case "roles":
                await visit.ask(SET_ROLES, pb.SetRolesRequest(name=name, roles=_roles(visit)))
            case "disable":
                await visit.ask(DISABLE, pb.DisableOperatorRequest(name=name))
            case "enable":
                await visit.ask(ENABLE, pb.EnableOperatorRequest(name=name))
            case "reset":
                made = await visit.ask(RESET, pb.ResetOperatorRequest(name=name))
                return await operators.show(visit, made=made)
            case _:
                raise Missing
    except Refused as refused:
        if refused.reason not in REASONS:
            raise
        return await operators.show(visit, problem=REASONS[refused.reason])
    return visit.redirect(path, done="yes")


async def tokens(visit: Visit) -> Response:
    """Make or revoke an API token of one's own; for an admin, revoke one of another operator."""
    whose: str = visit.request.path_params.get("name", "")
    path = f"{PATH}/{whose}" if whose else ME
    form, name = visit.form, visit.form.get("token", "").strip()[:NAME_MAX]
    if not visit.known.proved:
        return visit.redirect("/prove", next=path)
    if form.get("do") == "revoke" and name:
        request: Any = pb.RevokeApiTokenRequest(operator_name=whose, name=name)
        await visit.ask(REVOKE_TOKEN, request)
        return visit.redirect(path, done="yes")
    if form.get("do") != "add" or whose:
        raise Missing
    days = form.get("days", "").strip() or "90"
    if not days.isascii() or not days.isdigit() or not 0 < int(days[:9]) <= DAYS_MAX:
        return await operators.show_me(visit, _("Days: 1 to 366."))
    request = pb.CreateApiTokenRequest(name=name, roles=_roles(visit), days=int(days))
    try:
        made = await visit.ask(ADD_TOKEN, request)
    except Refused as refused:
        if refused.reason not in REASONS:
            raise
        return await operators.show_me(visit, REASONS[refused.reason])
    return await operators.show_me(visit, token=made)


PAGES: Final = (
    Page(PATH, act=create),
    Page("/operators/{name}/change", act=change),
    Page("/operators/{name}/tokens", act=tokens),
    Page("/me/tokens", act=tokens),
)
