"""A finance service as a process of its own, to die at a named place."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.faults import EXIT_CODE
from shoudan_kit.process.child import Child
from shoudan_kit.process.ports import free_port

COMMAND: Final = [sys.executable, "-c", "from shoudan_cli.main import main; main()"]


class FinanceProcess:
    """`shoudan serve finance` on a database, with faults armed."""

    def __init__(
        self, urls: DatabaseUrls, folder: Path, faults: str, port: int = 0, **settings: str
    ) -> None:
        self.port = port or free_port()
        self.target = f"127.0.0.1:{self.port}"
        own = {k: v for k, v in os.environ.items() if not k.startswith("SHOUDAN_")}
        given = {f"SHOUDAN_FINANCE_{name.upper()}": text for name, text in settings.items()}
        environ = own | {
            "SHOUDAN_FINANCE_DATABASE_URL": urls.service,
            "SHOUDAN_FINANCE_LISTEN_PORT": str(self.port),
            "SHOUDAN_FAULTS": faults,
            **given,
        }
        command = [*COMMAND, "serve", "finance"]
        self._child = Child.spawn(command, env=environ, output=folder / "finance.log")

    async def ended(self) -> int:
        """Its exit code."""
        return await self._child.wait()

    async def stop(self) -> None:
        """Kill it, unless it has ended."""
        await self._child.stop(signal.SIGKILL)


class MortalProcess:
    """`shoudan serve finance` that dies at one named place after the other, started again each time."""

    def __init__(self, urls: DatabaseUrls, folder: Path, **settings: str) -> None:
        self._made = lambda faults: FinanceProcess(
            urls, folder, faults, port=self.port, task_lease_s="1", **settings
        )
        self._armed = folder / "faults"
        self.port = free_port()
        self.target = f"127.0.0.1:{self.port}"
        self._process = self._start("")

    def _start(self, point: str) -> FinanceProcess:
        self._armed.write_text(f"{point}:exit" if point else "", "utf-8")
        return self._made(f"file:{self._armed}")

    async def dies(self, points: Sequence[str], seen: Callable[[str], Awaitable[None]]) -> None:
        """Die at each of these in turn; what is left is looked at before it is started again."""
        self._armed.write_text(f"{points[0]}:exit", "utf-8")
        for point, after in zip(points, (*points[1:], ""), strict=True):
            assert await self._process.ended() == EXIT_CODE, point
            await seen(point)
            self._process = self._start(after)

    async def stop(self) -> None:
        """End it for good."""
        await self._process.stop()
