"""The outside world in one small HTTP server: supplier, notify inbox and payment component."""

from __future__ import annotations

import asyncio
import html
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from aiohttp import web

from shoudan_fakes.component import SCRIPTS as PAY_SCRIPTS
from shoudan_fakes.component import Component
from shoudan_fakes.component import Script as PayScript
from shoudan_fakes.inbox import STYLE, Inboxes
from shoudan_fakes.journal import Journal
from shoudan_fakes.scripts import SCRIPTS, Script, chinese
from shoudan_fakes.supplier import Supplier
from shoudan_kit.process.gc_tuning import tune_gc

KEEPALIVE_S = 75.0
STOP_S = 1.0


class Sandbox:
    """`async with Sandbox(journal_path) as sandbox:` serves until the block ends.

    Built on aiohttp's low-level server: routing by a dict, because it is asked thousands of times a
    second in measurements.
    """

    def __init__(
        self, journal_path: Path, *, host: str = "127.0.0.1", port: int = 0, secret: bytes = b""
    ) -> None:
        self.journal = Journal(journal_path)
        self.supplier = Supplier(self.journal, secret)
        self.inboxes = Inboxes()
        self.component = Component()
        self._host, self.port = host, port
        self._routes = {
            **self.supplier.routes(),
            **self.component.routes(),
            "/": self._page,
            "/healthz": self._healthy,
        }
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        """`http://host:port`, without a slash."""
        return f"http://{self._host}:{self.port}"

    async def __aenter__(self) -> Self:
        server = web.Server(self._handle, access_log=None, keepalive_timeout=KEEPALIVE_S)
        self._runner = web.ServerRunner(server, shutdown_timeout=STOP_S)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port, backlog=4096)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        await self.supplier.aclose()
        await self.component.aclose()
        self.journal.close()

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        route = self._routes.get(http.path)
        if route is not None:
            return await route(http)
        if http.path.startswith("/inbox/"):
            return await self.inboxes.handle(http)
        return web.Response(status=404, text="see /")

    async def _healthy(self, http: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="ok")

    async def _page(self, http: web.BaseRequest) -> web.StreamResponse:
        words = WORDS["zh" if http.headers.get("Accept-Language", "").startswith("zh") else "en"]
        said = chinese() if words is WORDS["zh"] else {}
        inboxes = "".join(
            f'<li><a href="/inbox/{html.escape(name)}">{html.escape(name)}</a>: {box.received}'
            for name, box in self.inboxes.inboxes.items()
        )
        text = (
            f"<!doctype html><html lang={words['language']}><meta charset=utf-8>"
            "<meta name=viewport content='width=device-width, initial-scale=1'>"
            f"<title>{words['title']}</title><style>{STYLE}</style><main><h1>{words['supplier']}</h1>"
            f"<p>{words['accounts']}</p>{_table(SCRIPTS, said, words)}"
            '<p><a href="/supplier/journal">journal</a> · <a href="/supplier/knobs">knobs</a></p>'
            f"<h2>{words['component']}</h2><p>{words['codes']}</p>{_table(PAY_SCRIPTS, {}, words)}"
            '<p><a href="/component/journal">journal</a></p>'
            f"<h2>{words['inboxes']}</h2><ul>{inboxes or '<li>' + words['none']}</ul></main></html>"
        )
        return web.Response(text=text, content_type="text/html")


WORDS = {
    "zh": {
        "language": "zh",
        "title": "shoudan 沙箱",
        "supplier": "沙箱上游",
        "accounts": "充值账户的最后四位决定结果，其他末四位一律成功。",
        "component": "沙箱支付组件",
        "codes": "<code>payBarCode</code> 的最后四位决定结果，其他一律成功。",
        "inboxes": "通知收件箱",
        "none": "还没有通知",
        "tail": "末四位",
        "what": "结果",
    },
    "en": {
        "language": "en",
        "title": "shoudan sandbox",
        "supplier": "Sandbox supplier",
        "accounts": "The last four digits of the recharge account choose what happens; all others succeed.",
        "component": "Sandbox payment component",
        "codes": "The last four digits of <code>payBarCode</code> choose what happens; others succeed.",
        "inboxes": "Notify inboxes",
        "none": "nothing came yet",
        "tail": "last four",
        "what": "what happens",
    },
}


def _table(
    scripts: Mapping[str, Script | PayScript], said: Mapping[str, str], words: Mapping[str, str]
) -> str:
    """What each script does, in the words of the reader where there are some."""
    rows = "".join(
        f"<tr><td><code>…{tail}</code><td>{html.escape(said.get(tail, script.about))}</tr>"
        for tail, script in scripts.items()
    )
    return f"<table><tr><th>{words['tail']}<th>{words['what']}</tr>{rows}</table>"


async def serve(host: str, port: int, journal_path: Path, secret: bytes = b"") -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    async with Sandbox(journal_path, host=host, port=port, secret=secret) as sandbox:
        tune_gc()
        print(f"sandbox supplier, inbox and payment component on {sandbox.url}/", flush=True)
        await stop.wait()
