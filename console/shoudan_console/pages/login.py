"""Logging in and out, the authenticator, and password and code once more before money is moved."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from shoudan.identity.v1 import identity_service_pb2 as pb
from shoudan.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from shoudan_console import security
from shoudan_console.backend import As, Rpc
from shoudan_console.page import Page
from shoudan_console.sessions import tokens_of
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit, local
from shoudan_kit.rpc.refusal import Refused

DEVICE: Final = "device"  # the cookie of a device that logged in before
DEVICE_S: Final = 31_536_000
SEEN_CHARS: Final = 120

_IDENTITY: Final = "shoudan.identity.v1.IdentityService/"
LOGIN: Final = Rpc("identity", IdentityServiceStub, _IDENTITY + "Login")
ENROL: Final = Rpc("identity", IdentityServiceStub, _IDENTITY + "EnrolTotp")
CONFIRM: Final = Rpc("identity", IdentityServiceStub, _IDENTITY + "ConfirmTotp")
WHO_AM_I: Final = Rpc("identity", IdentityServiceStub, _IDENTITY + "WhoAmI")

REASONS: Final = {
    "ERROR_REASON_LOGIN_REFUSED": _("Name, password or code is wrong."),
    "ERROR_REASON_TOTP_REQUIRED": _("Your authenticator's code is needed, too."),
    "ERROR_REASON_CODE_REFUSED": _("The code is wrong, or was used before."),
    "ERROR_REASON_PASSWORD_MUST_CHANGE": _(
        "This password is good for one login: choose a new one."
    ),
    "ERROR_REASON_PASSWORD_WEAK": _("The new password is too weak: 12 characters or more."),
    "ERROR_REASON_OVERLOADED": _("Too many logins at once. Try again in a moment."),
}


async def show(visit: Visit) -> Response:
    """The form."""
    if visit.session is not None:
        return visit.redirect(local(visit.query.get("next", "/")))
    return _form(visit)


async def act(visit: Visit) -> Response:
    """Log in. A session that the browser had before ends."""
    form = visit.form
    name, new = form.get("name", "").strip().lower(), form.get("new_password", "")
    if new and new != form.get("repeated", ""):
        return _form(visit, _("The two new passwords differ."), new=True)
    try:
        done: pb.LoginResponse = await _login(visit, name, new)
    except Refused as refused:
        return _form(
            visit, _why(visit, refused), new=refused.reason.endswith("MUST_CHANGE") or bool(new)
        )
    before = visit.request.cookies.get(
        security.cookie_name(visit.site.settings, security.SESSION), ""
    )
    roles = frozenset[str]() if done.totp_enrolment_required else None
    session = await visit.site.sessions.open(
        done.operator, done.tokens, before=before, roles=roles, proved=True
    )
    where = "/enrol" if session.to_enrol else local(visit.query.get("next", "/"))
    return _with_device(visit, visit.enter(session, where), done.device)


async def _login(visit: Visit, name: str, new: str = "") -> Any:
    request = pb.LoginRequest(
        name=name,
        password=visit.form.get("password", ""),
        totp=visit.form.get("code", "").replace(" ", ""),
        new_password=new,
        device=visit.request.cookies.get(security.cookie_name(visit.site.settings, DEVICE), ""),
        agent=_agent(visit),
    )
    return await visit.site.backend.call(LOGIN, request, As(address=visit.address))


def _agent(visit: Visit) -> str:
    return f"console: {visit.request.headers.get('user-agent', '')}"[:SEEN_CHARS]


def _why(visit: Visit, refused: Refused) -> str:
    if refused.reason == "ERROR_REASON_TOO_MANY_ATTEMPTS":
        wait = next(iter(refused.metadata.values()), "")
        return visit.text(_("Too many attempts. Wait so many seconds:")) + f" {wait}"
    return REASONS.get(refused.reason, refused.reason)


def _form(visit: Visit, problem: str = "", *, new: bool = False) -> Response:
    name = visit.form.get("name", "")
    return visit.render("login.html", 401 if problem else 200, problem=problem, new=new, name=name)


def _with_device(visit: Visit, response: Response, device: str) -> Response:
    if device:
        security.set_cookie(response, visit.site.settings, DEVICE, device, DEVICE_S)
    return response


async def logout(visit: Visit) -> Response:
    """End the session."""
    if visit.session is not None:
        await visit.site.sessions.end(visit.session, visit.address)
    response = visit.redirect("/login")
    security.drop_cookie(response, visit.site.settings, security.SESSION)
    response.headers["clear-site-data"] = '"cache"'
    return response


async def show_enrol(visit: Visit) -> Response:
    """Says what comes; a secret is made by the form alone."""
    return visit.render("enrol.html", secret="", uri="", problem="", codes=())


async def enrol(visit: Visit) -> Response:
    """Make a secret, or confirm one with a code of it: then the session has all its roles."""
    code = visit.form.get("code", "").replace(" ", "")
    if not code:
        made = await visit.ask(ENROL, pb.EnrolTotpRequest())
        return visit.render("enrol.html", secret=made.secret, uri=made.uri, problem="", codes=())
    try:
        done = await visit.ask(CONFIRM, pb.ConfirmTotpRequest(code=code, agent=_agent(visit)))
    except Refused as refused:
        problem, secret = _why(visit, refused), visit.form.get("secret", "")
        return visit.render("enrol.html", 400, secret=secret, uri="", problem=problem, codes=())
    token = As(done.tokens.access_token, visit.address)
    me = await visit.site.backend.call(WHO_AM_I, pb.WhoAmIRequest(), token)
    session = await visit.site.sessions.open(
        me.operator, done.tokens, before=visit.known.cookie, proved=True
    )
    codes = list(done.recovery_codes)
    response = visit.render("enrol.html", secret="", uri="", problem="", codes=codes)
    return _with_device(visit, visit.hand_over(response, session), done.device)


async def show_prove(visit: Visit) -> Response:
    """Ask for password and code once more."""
    return visit.render("prove.html", problem="", where=local(visit.query.get("next", "/")))


async def prove(visit: Visit) -> Response:
    """Password and code are right: a new session with a new cookie; the one before ends."""
    where, known = local(visit.form.get("next", "/")), visit.known
    try:
        done = await _login(visit, known.operator)
    except Refused as refused:
        return visit.render("prove.html", 401, problem=_why(visit, refused), where=where)
    session = await visit.site.sessions.open(
        done.operator, done.tokens, before=known.cookie, proved=True
    )
    if known.tokens.session_id != tokens_of(done.tokens).session_id:
        await visit.site.sessions.end_tokens(known.tokens, visit.address)
    return _with_device(visit, visit.enter(session, where), done.device)


PAGES: Final = (
    Page("/login", show, act, open=True),
    Page("/logout", act=logout, open=True, enrolling=True),
    Page("/enrol", show_enrol, enrol, enrolling=True, whose="both"),
    Page("/prove", show_prove, prove, whose="both"),
)
