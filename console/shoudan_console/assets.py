"""The console's own files: scripts, styles and pictures, each address with the hash of what it gives."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FOLDER: Final = Path(__file__).with_name("static")
PATH: Final = "/static"
YEAR: Final = b"public, max-age=31536000, immutable"


class Assets:
    """The files as they were when the process began."""

    def __init__(self, folder: Path = FOLDER) -> None:
        files = (one for one in sorted(folder.rglob("*")) if one.is_file())
        self._digests = {
            str(one.relative_to(folder)): hashlib.sha256(one.read_bytes()).hexdigest()[:12]
            for one in files
        }
        self._files = GZipMiddleware(StaticFiles(directory=folder), minimum_size=1_000)

    def address(self, name: str) -> str:
        """Where a browser finds a file; another address once it has changed."""
        return f"{PATH}/{name}?v={self._digests[name]}"

    def app(self, headers: dict[str, str]) -> ASGIApp:
        """What serves them, with these headers."""
        added = [(name.encode(), value.encode()) for name, value in headers.items()]

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start":
                    there = [*message["headers"], *added]
                    if message["status"] == 200:
                        there.append((b"cache-control", YEAR))
                    message["headers"] = there
                await send(message)

            await self._files(scope, receive, sending)

        return serve
