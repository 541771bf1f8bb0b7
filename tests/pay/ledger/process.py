"""A pay service as a process of its own, to be killed and started again on the same port."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from grpc import aio

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan.pay.v1 import ledger_service_pb2_grpc as stubs
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.process.child import Child, tail
from shoudan_kit.process.ports import free_port
from tests.poll import eventually

COMMAND = [sys.executable, "-c", "from shoudan_cli.main import main; main()"]


class PayProcess:
    """`shoudan serve pay` on a database; `start` again after `kill`."""

    def __init__(self, urls: DatabaseUrls, folder: Path, **settings: str) -> None:
        self.port = free_port()
        self.target = f"127.0.0.1:{self.port}"
        self._log = folder / "pay.log"
        self._urls = urls
        self._settings = {f"SHOUDAN_PAY_{name.upper()}": text for name, text in settings.items()}
        self._child: Child | None = None

    async def start(self, faults: str = "") -> Any:
        """Start and wait until it answers; its stub."""
        own = {k: v for k, v in os.environ.items() if not k.startswith("SHOUDAN_")}
        environ = own | {
            "SHOUDAN_PAY_DATABASE_URL": self._urls.service,
            "SHOUDAN_PAY_LISTEN_PORT": str(self.port),
            "SHOUDAN_FAULTS": faults,
            "SHOUDAN_LOG_LEVEL": "warning",
            **self._settings,
        }
        self._child = Child.spawn([*COMMAND, "serve", "pay"], env=environ, output=self._log)
        channel = aio.insecure_channel(self.target)
        stub = stubs.LedgerServiceStub(channel)

        async def answers() -> bool:
            try:
                await stub.ListAccounts(pb.ListAccountsRequest(), timeout=2)
            except aio.AioRpcError:
                return False
            return True

        try:
            await eventually(answers, 40, every_s=0.05)
        except AssertionError:
            raise AssertionError(f"pay did not start:\n{tail(self._log)}") from None
        return stub

    async def ended(self) -> int:
        """Wait until it has died by itself; its exit code."""
        assert self._child is not None
        return await self._child.wait()

    async def kill(self) -> None:
        """As a power cut would."""
        assert self._child is not None
        self._child.send(signal.SIGKILL)
        await self._child.wait()

    async def stop(self) -> int:
        """SIGTERM, and its exit code."""
        assert self._child is not None
        return await self._child.stop()
