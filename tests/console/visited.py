"""Every page of the app with something real in it, found as a person finds it: by following links."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from starlette.routing import compile_path

from shoudan_console.page import Page
from shoudan_console.pages import PAGES
from tests.console.harness import Browser

STREAMS: Final = {
    "/live"
}  # what does not end by itself, and is no page: tests/console/test_overview.py
STAFF: Final = [one for one in PAGES if one.whose != "partner"]
SHOWN: Final = [one for one in STAFF if one.show and not one.open and one.path not in STREAMS]
_PATTERNS: Final = [(compile_path(one.path)[0], one) for one in STAFF]
_LINK: Final = re.compile(r'(?:data-)?href="(/[^"]*)"')
# What a page needs in its address before it shows anything, and leads on.
ASKED: Final = {
    "/search": "/search?q=desk-0",
    "/ledger/records": "/ledger/records?ident=oms&groups=down_channel&eid=test",
}


def page_of(address: str, *, acts: bool = False) -> Page | None:
    """The page that answers an address, as the site's routes do: the first that fits."""
    path = urlsplit(address).path
    for pattern, page in _PATTERNS:
        if pattern.match(path) and (page.act if acts else page.show):
            return page
    return None


@dataclass
class Places:
    """An address for every page: `found` by its pattern, `html` what was there."""

    found: dict[str, str] = field(default_factory=dict[str, str])
    html: dict[str, str] = field(default_factory=dict[str, str])

    def only(self, pattern: str) -> Places:
        """One of them alone."""
        return Places(self.found, {pattern: self.html[pattern]})

    @property
    def pages(self) -> list[str]:
        """The addresses of those that are pages, not files."""
        return [self.found[pattern] for pattern in sorted(self.html)]


async def places(browser: Browser) -> Places:
    """Each page that this person can reach from those of the navigation, once."""
    made = Places()
    waiting = [ASKED.get(one.path, one.path) for one in SHOWN if "{" not in one.path]
    while waiting:
        address = waiting.pop(0)
        page = page_of(address)
        if page is None or page.path in made.found or page not in SHOWN:
            continue
        if page.path.endswith((".csv", ".yaml")):
            made.found[page.path] = address
            continue
        async with browser.http.get(browser.url + address, allow_redirects=False) as answer:
            if answer.status != 200:
                continue
            made.found[page.path] = address
            if not answer.headers["content-type"].startswith("text/html"):
                continue
            made.html[page.path] = await answer.text()
        waiting += [unescape(one) for one in _LINK.findall(made.html[page.path])]
    return made


# ---------------------------------------------------------------- forms
TYPED: Final = {
    "first": "2026-11-30",
    "last": "2026-11-30",
    "day": "2026-11-30",
    "text": "lines: []",
}
# What differs each time a form is shown, such as where the clock stands.
_FRESH: Final = {"csrf", "from", "once", "held", "next", "lang", "theme"}


@dataclass(frozen=True)
class Form:
    """One thing that a page lets a person do: a button of a form, with what the form would send."""

    action: str
    fields: tuple[tuple[str, str], ...]
    file: bool = False

    @property
    def sent(self) -> dict[str, str]:
        """What it sends but for the token of its session."""
        return {name: value for name, value in self.fields if name != "csrf"}

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """The same for the same button of two persons."""
        return self.action, tuple(one for one in self.fields if one[0] not in _FRESH)


class _Reader(HTMLParser):
    """Forms that are posted: every field with its value, or with one that a person might choose."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path, self.forms = path, list[Form]()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self.buttons: list[tuple[str, str]] = []
        self.select, self.option, self.file = "", False, False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and given.get("method") == "post":
            self.action, self.fields, self.buttons = given.get("action") or self.path, {}, []
            self.file = False
        if self.action is None:
            return
        name, kind = given.get("name", ""), given.get("type", "text")
        if tag == "button" and kind in {"text", "submit"}:
            self.buttons.append((name, given.get("value", "")))
        elif tag == "input" and kind == "file":
            self.file = True
        elif tag == "input" and name and kind != "checkbox":
            self.fields.setdefault(name, given.get("value") or _typed(given))
        elif tag == "textarea":
            self.fields.setdefault(name, _typed(given))
        elif tag == "select":
            self.select = name
        elif tag == "option" and self.select:
            self.option = "value" not in given
            if given.get("value"):
                self.fields.setdefault(self.select, given["value"])

    def handle_data(self, data: str) -> None:
        if self.option and data.strip():
            self.fields.setdefault(self.select, data.strip())

    def handle_endtag(self, tag: str) -> None:
        if tag in {"option", "select"}:
            self.option = False
        if tag == "select":
            self.select = ""
        if tag == "form" and self.action is not None:
            for name, value in self.buttons or [("", "")]:
                sent = {**self.fields, **({name: value} if name else {})}
                self.forms.append(Form(self.action, tuple(sorted(sent.items())), self.file))
            self.action = None


def _typed(given: Mapping[str, str]) -> str:
    """What a person might type into an empty field."""
    named = TYPED.get(given.get("name", ""))
    hint = named or given.get("placeholder", "")
    return hint or ("1" if given.get("inputmode") == "numeric" else "a word")


def forms_of(address: str, html: str) -> list[Form]:
    """What a page lets a person do."""
    reader = _Reader(urlsplit(address).path)
    reader.feed(html)
    return reader.forms


def query_of(address: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(address).query))
