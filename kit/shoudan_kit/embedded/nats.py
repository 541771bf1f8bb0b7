"""A NATS server with JetStream as a child of this process."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

from shoudan_kit.embedded.binaries import nats_server
from shoudan_kit.embedded.home import EmbeddedError, Home
from shoudan_kit.process.child import Child, size, tail
from shoudan_kit.process.polling import until
from shoudan_kit.process.ports import free_port, http_status
from shoudan_kit.tls.identity import Files
from shoudan_kit.tls.nats_access import nats_access

START_S_MAX: Final = 20
STOP_S_MAX: Final = 10
USER: Final = "shoudan"
_MEBI: Final = 2**20
_STORE_BYTES_MAX: Final = 64 * 2**30  # a limit, not a reservation; streams bring tighter ones


class Nats:
    """One server. Restarts keep its ports and password, so its address stays true."""

    def __init__(
        self,
        home: Home,
        program: Path,
        ports: tuple[int, int],
        tls: Files | None = None,
        services: Sequence[str] = (),
    ) -> None:
        self.name: Final = "nats"
        self._tls, self._services = tls, tuple(services)
        self.home, (self.port, self.monitor_port) = home, ports
        self.log_path = home.path / "nats.log"
        self._program = program
        self._password = home.secret("nats.password")
        self._child: Child | None = None

    @classmethod
    async def start(
        cls,
        data_dir: Path | None = None,
        *,
        port: int | None = None,
        tls: Files | None = None,
        services: Sequence[str] = (),
    ) -> Self:
        """A server that is healthy. Without `data_dir` its data goes with it. Raises EmbeddedError.

        With `tls` (the server's own certificate) every client needs the certificate of one of `services`
        and may do what that may; without it there is one user with a password.
        """
        home = Home.open(data_dir, "nats")
        try:
            nats = cls(home, nats_server(), (port or free_port(), free_port()), tls, services)
            await nats.launch()
        except BaseException:
            home.close()
            raise
        return nats

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def url(self) -> str:
        """Where clients connect; the password goes with it where there is one."""
        if self._tls is not None:
            return f"tls://127.0.0.1:{self.port}"
        return f"nats://{USER}:{self._password}@127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self._running.pid

    async def launch(self) -> None:
        """Start the server and wait until it is healthy."""
        # JSON is a subset of the server's own configuration language.
        config = self.home.write("nats.conf", json.dumps(self._config(), indent=2))
        said_before = size(self.log_path)
        self._child = Child.spawn(
            [str(self._program), "-c", str(config)],
            env={"PATH": os.defpath},
            output=self.log_path,
            death_signal=signal.SIGTERM,
            cwd=Path("/"),
        )
        # Healthy once is enough: while clients make a stream again, the next look may say that it is not.
        if await until(self._settled, START_S_MAX) and self._child.code is None:
            return
        await self._child.stop(signal.SIGKILL)
        said = tail(self.log_path, start=said_before)
        raise EmbeddedError(f"NATS did not start; {self.log_path} ends:\n{said}")

    async def healthy(self) -> bool:
        """Plain /healthz: the narrower forms say 200 while a full disk refuses every message."""
        return await http_status(self.monitor_port, "/healthz") == 200

    async def wait(self) -> int:
        """The exit code, when the server has ended."""
        return await self._running.wait()

    def send(self, number: int) -> None:
        self._running.send(number)

    async def kill(self) -> None:
        """End it as a power cut would end it."""
        self.send(signal.SIGKILL)
        await self.wait()

    async def stop(self) -> None:
        """Stop in order. May be repeated."""
        if self._child:
            await self._child.stop(signal.SIGTERM, STOP_S_MAX)

    async def restart(self) -> None:
        await self.stop()
        await self.launch()

    async def aclose(self) -> None:
        """Stop, release the folder, remove it if it was only for now."""
        await self.stop()
        self.home.close()

    @property
    def _running(self) -> Child:
        if self._child is None:
            raise EmbeddedError("NATS has not been started")
        return self._child

    async def _settled(self) -> bool:
        return self._running.code is not None or await self.healthy()

    def reload(self) -> None:
        """Take new certificate files; connections stay."""
        self.send(signal.SIGHUP)

    def _access(self) -> dict[str, Any]:
        """Who may connect, and do what."""
        if self._tls is None:
            return {"authorization": {"user": USER, "password": self._password, "timeout": 5}}
        return nats_access(self._tls, self._services)

    def _config(self) -> dict[str, Any]:
        return {
            "server_name": "shoudan",
            "listen": f"127.0.0.1:{self.port}",
            "http": f"127.0.0.1:{self.monitor_port}",
            "max_payload": _MEBI,
            "max_connections": 1000,
            "write_deadline": "10s",
            **self._access(),
            "jetstream": {
                "store_dir": str(self.home.folder("store")),
                "max_memory_store": 64 * _MEBI,
                "max_file_store": _STORE_BYTES_MAX,
                "sync_interval": "always",  # an acknowledged event is on the disk
            },
        }
