"""Pages that renew themselves: the same panels, sent again and again while their browser listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from starlette.responses import Response, StreamingResponse

from shoudan_console.visits import Visit

SEND_S: Final = 600.0  # then a browser asks for the stream anew
HEADERS: Final = {"x-accel-buffering": "no"}  # proxies hand on each of them at once

# None: nothing has changed.
Render = Callable[[Visit], Awaitable[Response | None]]
NOTHING: Final = ": \n\n"  # that a connection still stands


def stream(visit: Visit, render: Render, every_s: float) -> StreamingResponse:
    """What `render` makes, every so often, until the browser goes away or the session ends."""
    return StreamingResponse(
        _events(visit, render, every_s), media_type="text/event-stream", headers=HEADERS
    )


async def _events(visit: Visit, render: Render, every_s: float) -> AsyncIterator[str]:
    site = visit.site
    for _turn in range(int(SEND_S / every_s)):
        with suppress(TimeoutError):
            await asyncio.wait_for(site.ending.wait(), every_s)
        if site.ending.is_set():
            return
        # A page that only stands open is no use of its session: it ends idle, as it would closed.
        session = await site.sessions.find(visit.known.cookie, visit.address, use=False)
        if session is None:
            yield "event: ended\ndata: \n\n"
            return
        again = replace(visit, session=session)
        await site.clock.follow(again.caller)
        page = await render(again)
        if page is None:
            yield NOTHING
            continue
        lines = bytes(page.body).decode().splitlines()
        yield "\n".join(f"data: {one}" for one in lines if one.strip()) + "\n\n"
