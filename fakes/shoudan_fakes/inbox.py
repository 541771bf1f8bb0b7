"""The notify inbox: takes what a partner would have been sent, answers `success`, shows it on a page."""

from __future__ import annotations

import html
import re
import time
from collections import deque
from urllib.parse import unquote

import msgspec
from aiohttp import web

KEPT_MAX = 200
CHANNELS_MAX = 200
BODY_BYTES_MAX = 64 * 1024
BODY_SHOWN_MAX = 4_000

_CHANNEL = re.compile(r"[\w.-]{1,64}")
_SECURE = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}


class Letter(msgspec.Struct):
    """One request as it came."""

    time: float
    method: str
    query: str
    headers: dict[str, str]
    body: str


class Inbox(msgspec.Struct):
    """The letters of one channel, newest last, and how its sender is answered."""

    letters: deque[Letter]
    received: int = 0
    answer: str = "success"
    status: int = 200


class Turned(msgspec.Struct, forbid_unknown_fields=True):
    """What may be turned: the answer given to every sender."""

    answer: str = "success"
    status: int = 200


class Inboxes:
    """`/inbox/{channel}`: POST or a GET with a query is a notify; a bare GET shows what came."""

    def __init__(self) -> None:
        self.inboxes: dict[str, Inbox] = {}
        self._encode = msgspec.json.Encoder().encode

    def get(self, channel: str) -> Inbox | None:
        """The inbox of `channel`, made when there is room for one more."""
        inbox = self.inboxes.get(channel)
        if inbox is None and len(self.inboxes) < CHANNELS_MAX:
            inbox = self.inboxes[channel] = Inbox(deque(maxlen=KEPT_MAX))
        return inbox

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """Every request under /inbox/."""
        channel, _, verb = unquote(http.path.removeprefix("/inbox/")).partition("/")
        if not _CHANNEL.fullmatch(channel) or verb not in {"", "knobs"}:
            return web.Response(status=404, text="/inbox/{channel} or /inbox/{channel}/knobs")
        inbox = self.get(channel)
        if inbox is None:
            return web.Response(status=503, text="too many channels")
        if verb:
            return await self._turn(inbox, http)
        if http.method == "POST" or (http.query_string and "format" not in http.query):
            return await self._take(inbox, http)
        return self._show(channel, inbox, http)

    async def _take(self, inbox: Inbox, http: web.BaseRequest) -> web.StreamResponse:
        body = await http.content.read(BODY_BYTES_MAX + 1)
        if len(body) > BODY_BYTES_MAX:
            return web.Response(status=413, text="too large")
        inbox.letters.append(
            Letter(
                time.time(),
                http.method,
                http.query_string,
                dict(http.headers),
                body.decode("utf-8", "backslashreplace"),
            )
        )
        inbox.received += 1
        return web.Response(status=inbox.status, text=inbox.answer)

    async def _turn(self, inbox: Inbox, http: web.BaseRequest) -> web.StreamResponse:
        try:
            turned = msgspec.json.decode(await http.read(), type=Turned)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            return web.Response(status=400, text=str(error))
        inbox.answer, inbox.status = turned.answer, turned.status
        return web.Response(text="turned")

    def _show(self, channel: str, inbox: Inbox, http: web.BaseRequest) -> web.StreamResponse:
        wants_json = "application/json" in http.headers.get("Accept", "")
        if wants_json or http.query.get("format") == "json":
            body = self._encode({"received": inbox.received, "letters": list(inbox.letters)})
            return web.Response(body=body, content_type="application/json")
        return web.Response(text=page(channel, inbox), content_type="text/html", headers=_SECURE)


def page(channel: str, inbox: Inbox) -> str:
    """The inbox for a person; everything that came from outside is escaped."""
    rows = "".join(_row(letter) for letter in reversed(inbox.letters))
    title = f"Inbox of {html.escape(channel)}"
    return (
        f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{STYLE}</style>"
        f"<h1>{title}</h1><p>{inbox.received} received, the last {len(inbox.letters)} below. "
        f"Answered with HTTP {inbox.status} <code>{html.escape(inbox.answer)}</code>.</p>"
        f"<table><tr><th>time<th>request<th>headers<th>body</tr>{rows}</table>"
    )


STYLE = (
    "body{font:14px system-ui,sans-serif;margin:2rem;color:#1c2430}"
    "table{border-collapse:collapse;width:100%}"
    "td,th{border-top:1px solid #d8dde5;padding:.4rem .6rem;text-align:left;vertical-align:top}"
    "pre{margin:0;white-space:pre-wrap;word-break:break-all;font-size:12px}"
)


def _row(letter: Letter) -> str:
    when = time.strftime("%H:%M:%S", time.localtime(letter.time))
    headers = "\n".join(f"{name}: {value}" for name, value in letter.headers.items())
    request = f"{letter.method} ?{letter.query}" if letter.query else letter.method
    cells = (when, request, headers, letter.body[:BODY_SHOWN_MAX])
    return "<tr>" + "".join(f"<td><pre>{html.escape(cell)}</pre>" for cell in cells) + "</tr>"
