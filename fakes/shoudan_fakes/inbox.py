"""The notify inbox: takes what a partner would have been sent, answers `success`, shows it on a page.

With secrets it is a receiver as it should be: what is not signed right is answered with 401, and why.
"""

from __future__ import annotations

import html
import re
import time
from collections import deque
from urllib.parse import unquote

import msgspec
from aiohttp import web

from shoudan_signing import webhooks

KEPT_MAX = 200
CHANNELS_MAX = 200
BODY_BYTES_MAX = 64 * 1024
BODY_SHOWN_MAX = 4_000
SECRETS_MAX = 5

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
    secrets: list[str] = msgspec.field(default_factory=list[str])

    def mistake(self, letter: Letter) -> str | None:
        """Why a letter is not believed, as of when it came; empty when it is, None without secrets."""
        if not self.secrets:
            return None
        try:
            body, moment = letter.body.encode(), int(letter.time)
            webhooks.verify(self.secrets, letter.headers, body, moment)
        except webhooks.NotVerified as error:
            return str(error)
        return ""


class Turned(msgspec.Struct, forbid_unknown_fields=True):
    """What may be turned: the answer given to every sender, and the secrets that they sign with."""

    answer: str = "success"
    status: int = 200
    secrets: list[str] | None = None  # those of before without it


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
        if mistake := inbox.mistake(inbox.letters[-1]):
            return web.Response(status=401, text=f"signature wrong: {mistake}")
        return web.Response(status=inbox.status, text=inbox.answer)

    async def _turn(self, inbox: Inbox, http: web.BaseRequest) -> web.StreamResponse:
        try:
            turned = msgspec.json.decode(await http.read(), type=Turned)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            return web.Response(status=400, text=str(error))
        if turned.secrets is not None and len(turned.secrets) > SECRETS_MAX:
            return web.Response(status=400, text=f"at most {SECRETS_MAX} secrets")
        inbox.answer, inbox.status = turned.answer, turned.status
        if turned.secrets is not None:
            inbox.secrets = [one for one in turned.secrets if one]
        return web.Response(text="turned")

    def _show(self, channel: str, inbox: Inbox, http: web.BaseRequest) -> web.StreamResponse:
        wants_json = "application/json" in http.headers.get("Accept", "")
        if wants_json or http.query.get("format") == "json":
            last = http.query.get("last", "")
            kept = int(last) if last.isascii() and last.isdecimal() and len(last) < 4 else KEPT_MAX
            letters = [
                {**msgspec.structs.asdict(one), "signature_mistake": inbox.mistake(one)}
                for one in [*inbox.letters][len(inbox.letters) - min(kept, len(inbox.letters)) :]
            ]
            body = self._encode({"received": inbox.received, "letters": letters})
            return web.Response(body=body, content_type="application/json")
        language = (
            "zh" if http.headers.get("Accept-Language", "").lower().startswith("zh") else "en"
        )
        text = page(channel, inbox, WORDS[language], language)
        return web.Response(text=text, content_type="text/html", headers=_SECURE)


WORDS = {
    "zh": {
        "title": "收件箱",
        "head": "共收到 {received} 条，显示最近 {shown} 条。返回 HTTP {status}",
        "empty": "还没有通知。把 notify_url 指到本页地址即可。",
        "unchecked": "未验签：还没有设置密钥",
        "right": "签名正确",
        "wrong": "签名错误",
        "hint": "设置密钥后逐条验签，不对的返回 401：",
    },
    "en": {
        "title": "Inbox",
        "head": "{received} received, the last {shown} below. Answered with HTTP {status}",
        "empty": "Nothing yet. Let notify_url lead to the address of this page.",
        "unchecked": "signature not checked: no secret set",
        "right": "signature right",
        "wrong": "signature wrong",
        "hint": "Set the secret, and each signature is checked; what is wrong is answered with 401:",
    },
}


def page(channel: str, inbox: Inbox, words: dict[str, str], language: str) -> str:
    """The inbox for a person; everything that came from outside is escaped."""
    letters = "".join(
        _shown(letter, inbox.mistake(letter), words) for letter in reversed(inbox.letters)
    )
    title = f"{words['title']} {html.escape(channel)}"
    head = words["head"].format(
        received=inbox.received, shown=len(inbox.letters), status=inbox.status
    )
    turn = f'curl -d \'{{"secrets": ["…"]}}\' …/inbox/{channel}/knobs'
    hint = "" if inbox.secrets else f"<p>{words['hint']}<pre>{html.escape(turn)}</pre>"
    return (
        f"<!doctype html><html lang={language}><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{title}</title><style>{STYLE}</style><main><h1>{title}</h1>"
        f"<p>{head} <code>{html.escape(inbox.answer)}</code></p>{hint}"
        f"{letters or '<p>' + words['empty']}</main></html>"
    )


STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:15px/1.5 system-ui,sans-serif;margin:0;color:#1c2430;background:#fff}"
    "main{max-width:60rem;margin:0 auto;padding:1rem}"
    "article{border-top:1px solid #c9d0da;padding:.6rem 0}"
    "pre{margin:.3rem 0;white-space:pre-wrap;overflow-wrap:anywhere;font-size:13px}"
    "table{border-collapse:collapse;width:100%}"
    "td,th{border-top:1px solid #c9d0da;padding:.4rem .6rem;text-align:left;vertical-align:top}"
    "a{color:#0b57d0}.right{color:#136c2e}.wrong{color:#b3261e;font-weight:600}"
    "@media (prefers-color-scheme:dark){body{color:#e6e9ee;background:#14181f}a{color:#8ab4f8}"
    ".right{color:#7fd99a}.wrong{color:#ff9b93}article,td,th{border-color:#3a424e}}"
)


def _shown(letter: Letter, mistake: str | None, words: dict[str, str]) -> str:
    when = time.strftime("%H:%M:%S", time.localtime(letter.time))
    headers = "\n".join(f"{name}: {value}" for name, value in letter.headers.items())
    request = f"{letter.method} ?{letter.query}" if letter.query else letter.method
    if mistake is None:
        signature = f"<span>{words['unchecked']}</span>"
    elif mistake:
        signature = f"<span class=wrong>{words['wrong']}: {html.escape(mistake)}</span>"
    else:
        signature = f"<span class=right>{words['right']}</span>"
    return (
        f"<article><b>{when}</b> {html.escape(request)} · {signature}"
        f"<pre>{html.escape(letter.body[:BODY_SHOWN_MAX])}</pre><pre>{html.escape(headers)}</pre></article>"
    )
