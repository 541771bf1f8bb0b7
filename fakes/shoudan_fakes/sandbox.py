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
from shoudan_fakes.scripts import SCRIPTS, Script
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
        rows, pay_rows = _rows(SCRIPTS), _rows(PAY_SCRIPTS)
        inboxes = "".join(
            f'<li><a href="/inbox/{html.escape(name)}">{html.escape(name)}</a>: {box.received}'
            for name, box in self.inboxes.inboxes.items()
        )
        text = (
            f"<!doctype html><meta charset=utf-8><title>shoudan sandbox</title><style>{STYLE}</style>"
            "<h1>Sandbox supplier</h1><p>The last four digits of the recharge account choose what "
            f"happens; everything else succeeds.</p><table>{rows}</table>"
            '<p><a href="/supplier/journal">journal</a> · <a href="/supplier/knobs">knobs</a></p>'
            "<h1>Sandbox payment component</h1><p>The last four digits of <code>payBarCode</code> "
            f"choose what happens; others succeed.</p><table>{pay_rows}</table>"
            '<p><a href="/component/journal">journal</a></p>'
            f"<h2>Notify inboxes</h2><ul>{inboxes or '<li>nothing came yet'}</ul>"
        )
        return web.Response(text=text, content_type="text/html")


def _rows(scripts: Mapping[str, Script | PayScript]) -> str:
    return "".join(
        f"<tr><td><code>…{tail}</code><td>{html.escape(script.about)}</tr>"
        for tail, script in scripts.items()
    )


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
