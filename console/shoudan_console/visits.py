"""One request of a browser: who visits, what it asks for, and how an answer is made."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlencode

from google.protobuf.message import Message
from jinja2 import Environment
from starlette.datastructures import QueryParams, UploadFile
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from shoudan_console import language, security
from shoudan_console.advances import Advances
from shoudan_console.backend import As, Away, Backend, Rpc
from shoudan_console.config import ConsoleSettings
from shoudan_console.day_sums import DaySums
from shoudan_console.replicas import Replicas
from shoudan_console.sessions import Session, Sessions
from shoudan_console.system_clock import Seen, SystemClock
from shoudan_kit.db.pool import Database
from shoudan_kit.rpc.refusal import Refused

T = TypeVar("T")

THEMES: Final = ("light", "dark")
LOCAL_MAX: Final = 2_000  # characters of an address to come back to


@dataclass(frozen=True)
class Site:
    """What all requests of a process share."""

    settings: ConsoleSettings
    db: Database
    backend: Backend
    sessions: Sessions
    templates: Mapping[str, Environment]  # by language
    clock: SystemClock
    advances: Advances
    replicas: Replicas
    day_sums: DaySums = field(default_factory=DaySums)
    ending: asyncio.Event = field(default_factory=asyncio.Event)  # streams end, the process does


@dataclass(frozen=True, slots=True)
class Panel(Generic[T]):
    """A part of a page: what it shows, or why it cannot."""

    value: T | None = None
    away: str = ""  # the service that did not answer
    refused: str = ""  # the reason of the service

    @property
    def there(self) -> bool:
        return not (self.away or self.refused)


class Missing(Exception):
    """There is no such thing: 404."""


@dataclass(frozen=True)
class Visit:
    """A request on its way to an answer."""

    site: Site
    request: Request
    session: Session | None
    address: str
    form: QueryParams
    csrf: str
    file: UploadFile | None = None  # that came with the form

    @property
    def query(self) -> QueryParams:
        return self.request.query_params

    @property
    def path(self) -> str:
        return self.request.url.path

    @property
    def here(self) -> str:
        """This address, with its query."""
        asked = self.request.url.query
        return f"{self.path}?{asked}" if asked else self.path

    @property
    def language(self) -> str:
        headers = self.request.headers
        cookie = self.request.cookies.get("lang", "")
        return language.chosen(cookie, headers.get("accept-language", ""))

    @property
    def theme(self) -> str:
        """What its operator chose; empty for the device's own."""
        chosen = self.request.cookies.get("theme", "")
        return chosen if chosen in THEMES else ""

    @property
    def known(self) -> Session:
        """The session of a page that needs one."""
        assert self.session is not None, "this page needs a login"
        return self.session

    @property
    def clock(self) -> Seen:
        """How far the clock of a test system was advanced."""
        return self.site.clock.seen

    @property
    def fragment(self) -> bool:
        """Whether htmx asks for a part of the page that it shows already."""
        return self.request.headers.get("hx-request") == "true"

    def once(self) -> str:
        """What one form carries, so that sent twice it counts once."""
        return secrets.token_hex(16)

    def text(self, message: str) -> str:
        """A text in the visitor's language."""
        return language.texts(self.language)(message)

    @property
    def caller(self) -> As:
        return As(self.session.tokens.access if self.session else "", self.address)

    async def ask(self, rpc: Rpc, request: Message, within_s: float | None = None) -> Any:
        """Call a service as this operator; long work is given longer. Raises Refused, Away."""
        return await self.site.backend.call(rpc, request, self.caller, within_s)

    def may(self, rpc: Rpc) -> bool:
        """Whether this operator's roles are among those that may call it: else no button is shown."""
        session = self.session
        return session is not None and rpc.allows(session.roles, partner=session.partner)

    async def panel(self, found: Awaitable[T]) -> Panel[T]:
        """What was found, or why nothing was."""
        try:
            return Panel(await found)
        except Away as away:
            return Panel(away=away.service)
        except Refused as refused:
            return Panel(refused=refused.reason)

    async def panels(self, **found: Awaitable[Any]) -> dict[str, Panel[Any]]:
        """Panels that are filled at the same time: none waits for another."""
        filled = await asyncio.gather(*map(self.panel, found.values()))
        return dict(zip(found, filled, strict=True))

    def render(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page."""
        found = self.site.templates[self.language].get_template(template)
        return HTMLResponse(found.render(visit=self, **values), status)

    def redirect(self, path: str, **query: str) -> Response:
        """Go on elsewhere here; a form that was sent is not sent again."""
        where = f"{path}?{urlencode(query)}" if query else path
        return RedirectResponse(where, 303)

    def enter(self, session: Session, where: str) -> Response:
        """Go on with a new session."""
        response = RedirectResponse(where, 303)
        return self.hand_over(response, session)

    def hand_over(self, response: Response, session: Session) -> Response:
        """Give the browser the cookie of a new session with an answer."""
        security.set_cookie(response, self.site.settings, security.SESSION, session.cookie)
        return response


def local(path: str) -> str:
    """An address of this site to go on to; the first page for any other."""
    strange = not path.startswith("/") or path.startswith(("//", "/\\")) or len(path) > LOCAL_MAX
    return "/" if strange or any(ord(one) < 0x20 for one in path) else path
