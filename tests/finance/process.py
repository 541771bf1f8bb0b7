"""A finance service as a process of its own, to die at a named place."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.process.child import Child
from shoudan_kit.process.ports import free_port

COMMAND: Final = [sys.executable, "-c", "from shoudan_cli.main import main; main()"]


class FinanceProcess:
    """`shoudan serve finance` on a database, with faults armed."""

    def __init__(self, urls: DatabaseUrls, folder: Path, faults: str, **settings: str) -> None:
        self.port = free_port()
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
