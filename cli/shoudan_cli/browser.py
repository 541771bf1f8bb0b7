"""A browser that logs in elsewhere and comes back: one address of this machine, for minutes."""

from __future__ import annotations

import asyncio
import hmac
import sys
import webbrowser
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import typer
from aiohttp import web

from shoudan_cli.clients import Failed

HOST: Final = "127.0.0.1"
PATH: Final = "/back"
WAIT_S: Final = 300.0
_PAGE: Final = "<!doctype html><meta charset=utf-8><title>shoudan</title><p>{}</p>"


@dataclass(frozen=True, slots=True)
class Back:
    """Where the browser comes back to, and what it brought."""

    redirect: str
    _brought: asyncio.Queue[dict[str, str]]

    async def code(self, state: str) -> str:
        """The provider's code of the login that began with `state`; others are not looked at.

        Raises Failed when the provider refused, or nothing came in time.
        """
        try:
            async with asyncio.timeout(WAIT_S):
                while True:
                    brought = await self._brought.get()
                    if hmac.compare_digest(brought.get("state", "").encode(), state.encode()):
                        break
        except TimeoutError:
            raise Failed(f"no browser came back within {WAIT_S:.0f} s") from None
        if "code" not in brought:
            raise Failed(f"the provider refused: {brought.get('error', 'no code')[:64]}")
        return brought["code"]


@asynccontextmanager
async def waiting() -> AsyncGenerator[Back]:
    """Serve the address while a login goes on."""
    brought = asyncio.Queue[dict[str, str]](maxsize=8)

    async def back(request: web.Request) -> web.Response:
        try:
            brought.put_nowait(dict(request.query))
        except asyncio.QueueFull:
            return web.Response(status=429)
        text = "You may close this page and go back to the command."
        return web.Response(text=_PAGE.format(text), content_type="text/html")

    app = web.Application()
    app.router.add_get(PATH, back)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        yield Back(f"http://{HOST}:{runner.addresses[0][1]}{PATH}", brought)
    finally:
        await runner.cleanup()


def show(url: str) -> None:
    """Print the address of the login page, and open it where a person sits."""
    typer.echo(f"open in a browser: {url}", err=True)
    if sys.stdin.isatty():
        webbrowser.open(url)
