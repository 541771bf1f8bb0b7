"""Operators: who they are and what they may do; their sessions and tokens; one's own password."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from starlette.responses import Response

from shoudan.identity.v1 import identity_service_pb2 as pb
from shoudan.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from shoudan_console import calls
from shoudan_console.backend import Rpc
from shoudan_console.lists import Column, Found, Listing, Query
from shoudan_console.page import Entry, Page, listing_pages
from shoudan_console.values import Status
from shoudan_console.values import mark as _
from shoudan_console.visits import Missing, Visit
from shoudan_kit.rpc.refusal import Refused
from shoudan_kit.rpc.rights import ROLES

PATH: Final = "/operators"
ME: Final = "/me"
NAME_MAX: Final = 40
LOOKED_MAX: Final = 200  # operators of a page in which one is looked for
LOOKS_MAX: Final = 10
CREATE: Final = Rpc(
    "identity", IdentityServiceStub, "shoudan.identity.v1.IdentityService/CreateOperator"
)
ACTIVE: Final = Status(_("Active"), "good")
DISABLED: Final = Status(_("Disabled"), "bad")
HAS: Final = Status(_("In force"), "good")
HAS_NOT: Final = Status(_("None"), "idle")


@dataclass(frozen=True, slots=True)
class Row:
    """One operator in the list."""

    name: str
    display_name: str
    roles: str
    status: Status
    totp: Status
    create_time: datetime
    changed_by: str

    @property
    def path(self) -> str:
        return f"{PATH}/{self.name}"


def row_of(one: Any) -> Row:
    """An operator as the service gives it."""
    return Row(
        one.name,
        one.display_name,
        ", ".join(sorted(one.roles)),
        DISABLED if one.disabled else ACTIVE,
        HAS if one.totp else HAS_NOT,
        one.create_time.ToDatetime(UTC),
        one.changed_by,
    )


async def fetch(visit: Visit, query: Query) -> Found:
    """A page by name."""
    request = pb.ListOperatorsRequest(page_size=query.size, page_token=query.token)
    answer = await visit.ask(calls.LIST_OPERATORS, request)
    return Found([row_of(one) for one in answer.operators], answer.next_page_token)


LISTING: Final = Listing(
    name="operators",
    path=PATH,
    title=_("Operators"),
    intro=_("Who may do what. People of partners are invited on the page of their channel."),
    columns=(
        Column("name", _("Login name"), lambda row: row.name, "code", lambda row: row.path),
        Column("display_name", _("Name"), lambda row: row.display_name),
        Column("roles", _("Roles"), lambda row: row.roles),
        Column("status", _("Status"), lambda row: row.status, "status"),
        Column("totp", _("Authenticator"), lambda row: row.totp, "status", small=False),
        Column("create_time", _("Created"), lambda row: row.create_time, "time", small=False),
        Column("changed_by", _("Changed by"), lambda row: row.changed_by, small=False),
    ),
    fetch=fetch,
    empty=_("No operator yet."),
    link=lambda row: row.path,
    template="operators.html",
    more={"roles": ROLES, "create": CREATE, "made": None, "problem": ""},
)


def _name(visit: Visit) -> str:
    name: str = visit.request.path_params["name"]
    if not name or len(name) > NAME_MAX:
        raise Missing
    return name


async def show(visit: Visit, problem: str = "", made: Any = None) -> Response:
    """An operator with its roles, sessions and tokens, for an admin."""
    name = _name(visit)
    return await _page(visit, name, f"{PATH}/{name}", problem, made=made)


async def show_me(visit: Visit, problem: str = "", token: Any = None) -> Response:
    """One's own sessions and tokens, and the password."""
    return await _page(visit, "", ME, problem, token=token)


async def _operator(visit: Visit, name: str) -> Row | None:
    """The operator of this name; None for one's own page, and where none is found."""
    request = pb.ListOperatorsRequest(page_size=LOOKED_MAX)
    for _turn in range(LOOKS_MAX if name else 0):
        answer = await visit.ask(calls.LIST_OPERATORS, request)
        for one in answer.operators:
            if one.name == name and not one.channels:
                return row_of(one)
        request.page_token = answer.next_page_token
        if not request.page_token:
            break
    return None


async def _page(
    visit: Visit, name: str, path: str, problem: str = "", made: Any = None, token: Any = None
) -> Response:
    panels = await visit.panels(
        operator=_operator(visit, name),
        sessions=visit.ask(calls.LIST_SESSIONS, pb.ListSessionsRequest(name=name)),
        tokens=visit.ask(calls.LIST_API_TOKENS, pb.ListApiTokensRequest(name=name)),
    )
    return visit.render(
        "operator.html",
        400 if problem else 200,
        name=name or visit.known.operator,
        own=not name,
        path=path,
        panels=panels,
        roles=ROLES,
        create=CREATE,
        made=made,
        token=token,
        problem=problem,
        current=visit.known.tokens.session_id,
    )


async def end_session(visit: Visit) -> Response:
    """End one session, of one's own or for an admin of another."""
    name = visit.request.path_params.get("name", "")
    text = visit.form.get("session_id", "")
    if not text.isascii() or not text.isdigit() or not int(text):
        raise Missing
    await visit.ask(calls.END_SESSION, pb.EndSessionRequest(name=name, session_id=int(text)))
    return visit.redirect(f"{PATH}/{name}" if name else ME, done="ended")


async def change_password(visit: Visit) -> Response:
    """Change one's own password; all other sessions end."""
    form = visit.form
    if form.get("new_password", "") != form.get("repeated", ""):
        return await show_me(visit, _("The two new passwords differ."))
    request = pb.ChangePasswordRequest(
        password=form.get("password", ""),
        new_password=form.get("new_password", ""),
        keep_session_id=visit.known.tokens.session_id,
    )
    try:
        await visit.ask(calls.CHANGE_PASSWORD, request)
    except Refused as refused:
        return await show_me(visit, REASONS.get(refused.reason, refused.reason))
    return visit.redirect(ME, done="password")


REASONS: Final = {
    "ERROR_REASON_LOGIN_REFUSED": _("The password is wrong."),
    "ERROR_REASON_PASSWORD_WEAK": _("The new password is too weak: 12 characters or more."),
    "ERROR_REASON_TOO_MANY_ATTEMPTS": _("Too many attempts. Try again later."),
}

PAGES: Final = (
    *listing_pages(LISTING),
    Page("/operators/{name}", show),
    Page("/operators/{name}/end", act=end_session),
    Page(ME, show_me, whose="both"),
    Page("/me/end", act=end_session, whose="both"),
    Page("/me/password", act=change_password, whose="both"),
)
NAVIGATION: Final = (
    Entry(PATH, _("Operators"), _("Administer"), (calls.LIST_OPERATORS,)),
    Entry(ME, _("My sessions"), _("Administer"), whose="both"),
)
