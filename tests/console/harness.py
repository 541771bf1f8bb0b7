"""A whole system with a console, operators of every role, and browsers without a screen."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from typing import Any

import aiohttp
from pyotp.hotp import HOTP

from shoudan.identity.v1 import identity_service_pb2 as pb
from shoudan.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from shoudan_cli.clients import Clients, Failed
from shoudan_cli.system import System
from tests.poll import eventually
from tests.system.conftest import Partner

PASSWORD = "correct horse battery"
STEP_S = 30
# All browsers of the tests have one address, and identity looks at five logins a second of one.
LATER = re.compile("Too many attempts|尝试次数过多")
LATER_S = 30


@dataclass
class Person:
    """An operator as it knows itself."""

    name: str
    secret: str = ""


@dataclass
class Answer:
    """What a browser got."""

    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([\w-]+)"', self.text)
        assert found is not None, self.text[:500]
        return found[1]

    def field(self, name: str) -> str:
        found = re.search(rf'name="{name}" value="([^"]*)"', self.text)
        assert found is not None, f"no field {name}"
        return unescape(found[1])

    @property
    def location(self) -> str:
        return self.headers["location"]


@dataclass
class Browser:
    """A browser that runs no scripts: cookies, links, forms."""

    url: str
    http: aiohttp.ClientSession
    csrf: str = ""

    async def get(self, path: str, **headers: str) -> Answer:
        """A page, again while a service has not yet fetched the key of its operator's token."""
        found: Answer | None = None

        async def seen() -> bool:
            nonlocal found
            found = await self._ask("GET", path, headers=headers)
            return "why=unknown key" not in found.text

        await eventually(seen, LATER_S, every_s=0.2)
        assert found is not None
        return found

    async def post(
        self, path: str, fields: Mapping[str, str] | None = None, **headers: str
    ) -> Answer:
        """Send a form of the page that was seen last; headers may say that it came from elsewhere."""
        given = {"csrf": self.csrf, **(fields or {})}
        return await self._ask("POST", path, data=given, headers=headers)

    async def data(self, path: str) -> bytes:
        """A file."""
        async with self.http.get(self.url + path, allow_redirects=False) as answer:
            assert answer.status == 200, path
            return await answer.read()

    async def send(
        self, path: str, fields: Mapping[str, str], file_name: str, data: bytes
    ) -> Answer:
        """Send a form with a file."""
        form = aiohttp.FormData({"csrf": self.csrf, **fields}, default_to_multipart=True)
        form.add_field("file", data, filename=file_name, content_type="text/csv")
        return await self._ask("POST", path, data=form)

    async def _ask(self, method: str, path: str, **more: Any) -> Answer:
        async with self.http.request(
            method, self.url + path, allow_redirects=False, **more
        ) as answer:
            got = Answer(answer.status, await answer.text(), answer.headers)
        if 'name="csrf"' in got.text:
            self.csrf = got.csrf
        return got

    def cookie(self, name: str = "session") -> str:
        return next((one.value for one in self.http.cookie_jar if one.key == name), "")

    async def speak(self, language: str) -> None:
        await self.post("/preferences", {"lang": language})


@dataclass
class Desk:
    """The system, who works there, and what they work with."""

    system: System
    partner: Partner
    clients: Clients
    admin: Person
    admin_token: str
    people: dict[str, Person] = field(default_factory=dict)
    open: list[aiohttp.ClientSession] = field(default_factory=list)

    def browser(self) -> Browser:
        """A new one, with no cookies."""
        http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        self.open.append(http)
        return Browser(self.system.console_url, http)

    async def person(self, name: str, *roles: str) -> Person:
        """An operator with these roles, made the first time it is asked for."""
        if name not in self.people:
            request = pb.CreateOperatorRequest(name=name, roles=roles)
            made = await self.call("CreateOperator", request, self.admin_token)
            self.people[name] = await self.begin(name, made.one_time_password)
        return self.people[name]

    async def account(self, name: str, *channels: str) -> Person:
        """An account of a partner's person, made the first time it is asked for."""
        if name not in self.people:
            request = pb.CreateOperatorRequest(name=name, channels=channels)
            made = await self.call("CreateOperator", request, self.admin_token)
            self.people[name] = await self.begin(name, made.one_time_password)
        return self.people[name]

    async def met(self, name: str, secret: str) -> Person:
        """A person who has set itself up in a browser."""
        self.people[name] = Person(name, secret)
        return self.people[name]

    async def begin(self, name: str, password: str) -> Person:
        """The first login of an operator, who gives itself a password and an authenticator."""
        request = pb.LoginRequest(name=name, password=password, new_password=PASSWORD)
        done = await self.call("Login", request)
        person = Person(name)
        token = done.tokens.access_token
        if done.totp_enrolment_required:
            person.secret = (await self.call("EnrolTotp", pb.EnrolTotpRequest(), token)).secret
            confirm = pb.ConfirmTotpRequest(code=self.code(person))
            token = (await self.call("ConfirmTotp", confirm, token)).tokens.access_token
        if name == "admin":
            self.admin_token = token
        return person

    async def call(self, method: str, request: Any, token: str = "") -> Any:
        """A call of identity; one that is refused for its address's rate alone comes again, and a call of
        the administrator whose token has expired in a long run of tests."""
        answers: list[Any] = []
        given = token

        async def answered() -> bool:
            nonlocal given
            stub = IdentityServiceStub
            try:
                answer = await self.clients.call("identity", stub, method, request, token=given)
            except Failed as failed:
                if given and given == self.admin_token and "why=expired" in str(failed):
                    given = self.admin_token = await self.token("admin")
                    return False
                if "TOO_MANY_ATTEMPTS" not in str(failed):
                    raise
                return False
            answers.append(answer)
            return True

        await eventually(answered, LATER_S, every_s=0.2)
        return answers[0]

    def code(self, person: Person) -> str:
        return HOTP(person.secret).at(int(time.time()) // STEP_S) if person.secret else ""

    async def forget_codes(self, person: Person) -> None:
        """As if its last code had been used long ago."""
        async with self.system.postgres.admin("shoudan_identity") as db:
            await db.execute("UPDATE operator SET totp_step = 0 WHERE name = $1", person.name)

    async def credentials(self, person: Person) -> dict[str, str]:
        """What a person types at the login."""
        await self.forget_codes(person)
        return {"name": person.name, "password": PASSWORD, "code": self.code(person)}

    async def logged_in(self, name: str, *roles: str, language: str = "en") -> Browser:
        """A browser with a session of the operator."""
        person = await self.person(name, *roles)
        browser = self.browser()
        await browser.get("/login")
        await browser.speak(language)
        await browser.get("/login")
        await self.admitted(browser, "/login", person)
        await browser.get("/")
        return browser

    async def admitted(self, browser: Browser, path: str, person: Person, **more: str) -> Answer:
        """Password and code sent to a page that asks for them, again while there are too many attempts."""
        done: Answer | None = None

        async def answered() -> bool:
            nonlocal done
            done = await browser.post(path, {**await self.credentials(person), **more})
            return not (done.status == 401 and LATER.search(done.text))

        await eventually(answered, LATER_S, every_s=0.2)
        assert done is not None
        assert done.status == 303, done.text
        return done

    async def token(self, name: str) -> str:
        """What a call of an operator carries, apart from any browser."""
        given = await self.credentials(self.people[name])
        request = pb.LoginRequest(
            name=name, password=given["password"], totp=given["code"], agent="test"
        )
        return (await self.call("Login", request)).tokens.access_token

    async def sql(self, query: str, *values: Any) -> Any:
        """The first value of a statement in the console's own database."""
        async with self.system.postgres.admin("shoudan_console") as db:
            return await db.fetchval(query, *values)
