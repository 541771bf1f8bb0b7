"""`shoudan bench console`: how long its pages take with many orders, and what memory it has."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import aiohttp
from pyotp.hotp import HOTP

from shoudan_cli import stored
from shoudan_cli.bench_layout import FIRST, Layout
from shoudan_cli.bench_lifecycle import fill
from shoudan_cli.bench_parts import cpu_s, preallocate_wal
from shoudan_cli.clients import Failed
from shoudan_cli.footprint import memory_mib
from shoudan_cli.load import percentile
from shoudan_cli.stored import Say
from shoudan_cli.system import Stage, System
from shoudan_cli.wiring import CONSOLE, GATEWAY, SERVICES
from shoudan_kit.process.polling import until

NAME: Final = "admin"
TIMES: Final = 20  # that a page is asked for, after WARM
WARM: Final = 2
TOTP_S: Final = 30
HTML: Final = "text/html"
KNOWN_S_MAX: Final = 60.0
MOST_P95_MS: Final = 300.0  # of a list's first screen
OBJECTS_MAX: Final = 100

_PASSWORD: Final = re.compile(r"one login: (\S+)")
_FIELD: Final = r'name="{}" value="([^"]*)"'
_HREF: Final = re.compile(r'href="(/[^"#]*)"')
_MAIN: Final = re.compile(r"<main.*</main>", re.DOTALL)
_NAV: Final = re.compile(r"<nav.*?</nav>", re.DOTALL)
_AWAY: Final = re.compile(r"does not answer|没有应答|why=unknown key")
# What an address says of one object: a number, or what is not a word of a path.
_OBJECT: Final = re.compile(r"(?<=/)(?:[0-9][^/?]*|[^/?]*[^a-z/?-][^/?]*)")
# Lists as persons filter them, beside each list's first screen.
FILTERED: Final = (
    f"/orders?channel={FIRST}",
    "/orders?status=0",
    "/orders?status=90",
    "/orders?account=100011079190000",
    "/orders?account=100011012340000",  # of no order
    "/orders?from=2026-01-01",
    "/orders/by-time",
    "/refunds?status=0",
    "/events?key=none",
)


@dataclass(frozen=True, slots=True)
class PageFigures:
    """One page: `path` with the first object of its kind; `ok` unless it is not made, or a part is missing.

    `cpu_ms` is what all processes of the system spent on it, and on whatever else they did meanwhile.
    """

    path: str
    p50_ms: float
    p95_ms: float
    cpu_ms: float
    bytes: int
    ok: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """What `--json` prints, with exactly these keys. Times are those of a browser on the same machine.

    `lists` are first screens, those that a filter gives, too, and the next page; `objects` one of each kind.
    `slow` are lists above 300 ms at p95, or pages that are not whole.
    """

    orders: int
    load_s: float
    lists: Sequence[PageFigures]
    objects: Sequence[PageFigures]
    slow: Sequence[str]
    memory_mib: dict[str, float]


async def bench(count: int, times: int, say: Say) -> Figures:
    """Start a system, load orders, ask for every page as an operator. Raises Failed."""
    layout, stages = Layout(channels=4, stored=count), list[Stage]()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="shoudan-bench-")))
        system = await stack.enter_async_context(
            System.start(
                profile="demo",
                catalogue=layout.catalogue(folder),
                stage=stages.append,
                report=lambda event: say(str(event)),
            )
        )
        clients = system.clients()
        try:
            await preallocate_wal(system.postgres)
            await fill(clients, layout)
            loaded = await stored.load(system, layout, say)
        finally:
            await clients.close()
        browser = await stack.enter_async_context(_browser(system, stages))
        pids = {
            name: system.supervisor.pid(name)
            for name in (*SERVICES, GATEWAY, CONSOLE, "postgres", "nats")
        }
        browser.roots = list(pids.values())
        lists, objects = await _pages(browser, times, say)
        memory = memory_mib(pids)
    slow = [one.path for one in lists if one.p95_ms > MOST_P95_MS]
    slow += [one.path for one in (*lists, *objects) if not one.ok]
    return Figures(loaded.orders, round(loaded.seconds, 1), lists, objects, slow, memory)


# ---------------------------------------------------------------- a browser
@dataclass
class Browser:
    """A browser without scripts that is logged in: its forms carry what the last page gave them."""

    url: str
    http: aiohttp.ClientSession
    text: str = ""
    roots: Sequence[int] = ()  # the processes that answer it

    async def get(self, path: str) -> tuple[int, str, float]:
        """A page, no text of what is none, and how many milliseconds it took."""
        began = time.perf_counter()
        async with self.http.get(self.url + path) as answer:
            body = await answer.read()
        self.text = body.decode() if answer.content_type == HTML else ""
        return answer.status, self.text, (time.perf_counter() - began) * 1000

    async def post(self, path: str, **fields: str) -> str:
        """Send the form of the page seen last; the page that it leads to."""
        given = {"csrf": self.field("csrf"), **fields}
        async with self.http.post(self.url + path, data=given) as answer:
            self.text = await answer.text()
            if answer.status >= 400:
                raise Failed(f"the console refused {path}: {answer.status}")
        return self.text

    def field(self, name: str) -> str:
        """What a form of the last page holds."""
        found = re.search(_FIELD.format(name), self.text)
        if found is None:
            raise Failed(f"a page of the console has no field {name}")
        return unescape(found[1])


@asynccontextmanager
async def _browser(system: System, stages: Iterable[Stage]) -> AsyncGenerator[Browser]:
    """One that the first operator has logged in with, password and authenticator chosen."""
    said = next((one.text for one in stages if one.name == "identity"), "")
    first = _PASSWORD.search(said)
    if first is None:
        raise Failed("identity named no first password")
    jar = aiohttp.CookieJar(unsafe=True)  # of an address without a name
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(cookie_jar=jar, timeout=timeout, trust_env=False) as http:
        browser, chosen = Browser(system.console_url, http), secrets.token_urlsafe(18)
        await browser.get("/login")
        await browser.post(
            "/login", name=NAME, password=first[1], new_password=chosen, repeated=chosen
        )
        await browser.get("/enrol")
        await browser.post("/enrol")
        secret = browser.field("secret")
        code = HOTP(secret).at(int(time.time()) // TOTP_S)
        await browser.post("/enrol", secret=secret, code=code)
        await _known(browser)
        yield browser


async def _known(browser: Browser) -> None:
    """Services fetch the key that the operator's token is signed with, some seconds after the first login."""

    async def whole() -> bool:
        return all(
            [await _is_whole(browser, path) for path in ("/", "/audit-log", "/finance/days")]
        )

    if not await until(whole, KNOWN_S_MAX, every_s=0.2):
        raise Failed("the services did not come to know the operator")


async def _is_whole(browser: Browser, path: str) -> bool:
    status, text, _ = await browser.get(path)
    return status == 200 and not _AWAY.search(text)


# ---------------------------------------------------------------- the pages
async def _pages(
    browser: Browser, times: int, say: Say
) -> tuple[list[PageFigures], list[PageFigures]]:
    """Every page that the first one leads to, then one object of each kind that those lead to."""
    _, first, _ = await browser.get("/")
    lists = dict.fromkeys(["/", *_links(_NAV.findall(first)), *FILTERED])
    kinds: dict[str, str] = {}
    later: dict[str, None] = {}
    for path in lists:
        for link in _links(_MAIN.findall((await browser.get(path))[1])):
            place = link.partition("?")[0]
            if kind_of(link) != place:
                kinds.setdefault(kind_of(link), place)
            elif "page=" in link and place in lists:
                later.setdefault(link)
    measured = [await _measured(browser, path, times, say) for path in (*lists, *later)]
    asked = list(kinds.values())[:OBJECTS_MAX]
    shown = [path for path in asked if (await browser.get(path))[1]]  # the others are files
    return measured, [await _measured(browser, path, times, say) for path in shown]


def kind_of(link: str) -> str:
    """The address with what is of one object left out."""
    return _OBJECT.sub("{}", link.partition("?")[0])


def _links(parts: Iterable[str]) -> list[str]:
    return [unescape(link) for part in parts for link in _HREF.findall(part)]


async def _measured(browser: Browser, path: str, times: int, say: Say) -> PageFigures:
    taken: list[float] = []
    ok, size = True, 0
    spent_s = 0.0
    for at in range(WARM + times):
        spent_s = cpu_s(browser.roots) if at == WARM else spent_s
        status, text, took_ms = await browser.get(path)
        ok, size = ok and status == 200 and not _AWAY.search(text), len(text.encode())
        if at >= WARM:
            taken.append(took_ms)
    cpu_ms = (cpu_s(browser.roots) - spent_s) * 1000 / times
    p50, p95 = percentile(taken, 0.5), percentile(taken, 0.95)
    times_ms = f"{p50:7.1f} {p95:7.1f} ms, {cpu_ms:6.1f} of CPU"
    say(f"{path[:60]:60} {times_ms}  {size:,} bytes{'' if ok else '  NOT WHOLE'}")
    return PageFigures(path, round(p50, 1), round(p95, 1), round(cpu_ms, 1), size, ok)
