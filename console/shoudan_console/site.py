"""The site: every page behind the same checks, every answer with the same headers."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy.exc import DBAPIError
from starlette.applications import Starlette
from starlette.datastructures import QueryParams, UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from shoudan_console import assets, language, security, values
from shoudan_console.backend import Away
from shoudan_console.page import Entry, Page
from shoudan_console.pages import NAVIGATION, PAGES
from shoudan_console.security import FormRefused
from shoudan_console.sessions import csrf_of
from shoudan_console.visits import Missing, Site, Visit
from shoudan_kit import log
from shoudan_kit.clock_steps import span
from shoudan_kit.db.errors import Unavailable, away
from shoudan_kit.rpc.refusal import Refused

TEMPLATES: Final = Path(__file__).with_name("templates")
FORM: Final = "form"  # the cookie that forms before a login are bound to
FORBIDDEN: Final = ("NOT_ALLOWED", "PERMISSION_DENIED", "NO_CALLER", "UNAUTHENTICATED")
OWN: Final = "/own/orders"  # where a partner's account begins
NOWHERE: Final = QueryParams("")
GONE: Final = 499  # for a browser that has left, as proxies write it
# What is answered with a page of its own; the last one is every bug, which the server logs, too.
FAILURES: Final = (
    Away,
    DBAPIError,
    FormRefused,
    Missing,
    OSError,
    Refused,
    Unavailable,
    Exception,
)

_log = log.get_logger("console")


def environments(found: assets.Assets, profile: str) -> dict[str, Environment]:
    """What makes pages, for each language."""
    made: dict[str, Environment] = {}
    for name in language.LANGUAGES:
        one = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.i18n"],
        )
        extension: Any = one
        extension.install_gettext_translations(language.translations(name), newstyle=True)
        known: dict[str, Any] = extension.globals
        known.update(
            asset=found.address,
            money=values.money,
            shown=values.shown,
            utc=values.utc,
            iso=values.iso,
            age=values.age,
            lasting=values.lasting,
            span=span,
            moment_of=values.moment_of,
            languages=language.LANGUAGES,
            html_language=language.HTML[name],
            profile=profile,
            navigation=_groups(NAVIGATION),
        )
        made[name] = one
    return made


def _groups(entries: Sequence[Entry]) -> Mapping[str, Sequence[Entry]]:
    found: dict[str, list[Entry]] = {}
    for one in entries:
        found.setdefault(one.group, []).append(one)
    return found


def application(site: Site, found: assets.Assets) -> Starlette:
    """The whole site."""
    routes: list[BaseRoute] = [
        Mount(assets.PATH, found.app(security.HEADERS)),
        *(_route(site, page) for page in PAGES),
        _route(site, Page("/{rest:path}", _nothing, whose="both")),
    ]
    return Starlette(routes=routes, exception_handlers=dict.fromkeys(FAILURES, _failed))


def _route(site: Site, page: Page) -> Route:
    methods = [name for name, there in (("GET", page.show), ("POST", page.act)) if there]
    return Route(page.path, partial(_answer, site, page), methods=methods)


async def _nothing(_: Visit) -> Response:
    raise Missing


async def _answer(site: Site, page: Page, request: Request) -> Response:
    """One request; what it raises is answered by `_failed`."""
    settings = site.settings
    before = request.cookies.get(security.cookie_name(settings, FORM), "")
    form_cookie = before or secrets.token_urlsafe(24)
    address = security.address_of(request, settings)
    request.state.form_cookie = "" if before else form_cookie
    request.state.visit = Visit(site, request, None, address, NOWHERE, csrf_of(form_cookie))
    cookie = request.cookies.get(security.cookie_name(settings, security.SESSION), "")
    session = await site.sessions.find(cookie, address) if cookie else None
    if session is not None:
        request.state.visit = Visit(site, request, session, address, NOWHERE, session.csrf)
        if not session.to_enrol:
            await site.clock.follow(request.state.visit.caller)
    return _ended(request, await _while_there(request, _checked(request.state.visit, page)))


async def _while_there(request: Request, answer: Coroutine[Any, Any, Response]) -> Response:
    """The answer to a browser that waits for it. A page that it has left is not made to its end: the calls
    for it are cancelled, and so their statements."""
    if request.method != "GET":
        return await answer
    work, gone = asyncio.ensure_future(answer), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        return await work if work.done() else Response("", GONE)
    finally:
        work.cancel()
        gone.cancel()
        await asyncio.wait({work, gone})


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue


async def _failed(request: Request, error: Exception) -> Response:
    """A browser gets a page, never the text of an exception."""
    return _ended(request, failed(request.state.visit, error))


def _ended(request: Request, response: Response) -> Response:
    """What every answer has."""
    settings = request.state.visit.site.settings
    if request.state.form_cookie:
        security.set_cookie(response, settings, FORM, request.state.form_cookie)
    return security.protect(response, settings)


async def _checked(visit: Visit, page: Page) -> Response:
    """Only who may be here, and only forms of our own."""
    request, session = visit.request, visit.session
    if request.method == "POST":
        file: UploadFile | None = None
        if page.upload and session is not None:
            most = visit.site.settings.upload_bytes_max
            form, file = await security.read_upload(request, most, page.text_bytes_max)
        else:
            form = await security.read_form(request)
        if session is None and not page.open:
            return visit.redirect("/login")
        security.check_form(request, form, visit.csrf)
        visit = Visit(visit.site, request, session, visit.address, form, visit.csrf, file)
    if session is None and not page.open:
        if visit.fragment:
            return Response("", 401, {"hx-redirect": "/login"})
        return visit.redirect("/login", next=visit.here)
    if session is not None and session.to_enrol and not page.enrolling:
        return visit.redirect("/enrol")
    if session is not None and not page.there_for(session):
        if visit.path == "/":
            return visit.redirect(OWN)
        raise Missing
    handler = page.act if request.method == "POST" else page.show
    assert handler is not None, "routes name the methods that there are"
    return await handler(visit)


def failed(visit: Visit, error: Exception) -> Response:
    """What a browser sees when a page could not be made."""
    match error:
        case Missing():
            return visit.render("message.html", 404, kind="missing", detail="")
        case FormRefused():
            _log.warning("form_refused", why=str(error), path=visit.path)
            return visit.render("message.html", 403, kind="form", detail="")
        case Away():
            return visit.render("message.html", 503, kind="away", detail=error.service)
        case Refused():
            kind = "forbidden" if error.reason.endswith(FORBIDDEN) else "refused"
            kind = "missing" if error.reason.endswith("NOT_FOUND") else kind
            status = {"forbidden": 403, "missing": 404}.get(kind, 409)
            return visit.render("message.html", status, kind=kind, detail=str(error))
        case DBAPIError() | Unavailable() | OSError() if away(error):
            return visit.render("message.html", 503, kind="away", detail="console")
        case _:
            _log.error("page_failed", path=visit.path, exc_info=error)
            return visit.render("message.html", 500, kind="failed", detail="")
