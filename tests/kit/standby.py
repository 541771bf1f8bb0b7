"""A streaming standby of an embedded PostgreSQL, for tests of failover."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from shoudan_kit.embedded import Postgres
from shoudan_kit.embedded.binaries import postgres_bin
from shoudan_kit.embedded.home import Home, unprivileged_user
from shoudan_kit.embedded.postgres import CONNECTIONS
from shoudan_kit.process.child import Child, tail
from shoudan_kit.process.ports import free_port
from tests.poll import eventually

ENV = {"PATH": "/usr/bin:/bin", "LANG": "C", "LC_ALL": "C", "TZ": "UTC"}


class Standby:
    """The copy; `promote` makes it a primary."""

    def __init__(
        self,
        primary: Postgres,
        home: Home,
        bin_dir: Path | None = None,
        connections: int = CONNECTIONS,
    ) -> None:
        """`connections`: not below the primary's, or it does not start."""
        self._primary, self._home, self.port = primary, home, free_port()
        self.data, self._log = home.path / "data", home.path / "standby.log"
        self._connections = connections
        self._bin = bin_dir or postgres_bin(unprivileged_user())
        self._child: Child | None = None

    def url(self, database: str) -> str:
        """The primary's URL, at our port."""
        return self._primary.tcp_url(database).replace(f":{self._primary.port}/", f":{self.port}/")

    async def start(self) -> None:
        password = (self._primary.home.path / "superuser.password").read_text().strip()
        copy = Child.spawn(
            [
                str(self._bin / "pg_basebackup"),
                *("-h", str(self._primary.socket_dir), "-p", str(self._primary.port)),
                *("-U", "postgres", "-D", str(self.data), "-R", "-X", "stream", "-c", "fast"),
            ],
            env={**ENV, "PGPASSWORD": password},
            output=self._log,
            user=self._home.user,
            cwd=Path("/"),
        )
        assert await copy.ended(60), tail(self._log)
        assert copy.code == 0, tail(self._log)
        argv = [str(self._bin / "postgres"), "-D", str(self.data), "-c", f"port={self.port}"]
        argv += [
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            f"unix_socket_directories={self._home.path}",
            "-c",
            f"max_connections={self._connections}",
            "-c",
            "wal_retrieve_retry_interval=200ms",  # a primary that comes back is found soon
        ]
        self._child = Child.spawn(
            argv,
            env=ENV,
            output=self._log,
            user=self._home.user,
            death_signal=signal.SIGINT,
            cwd=Path("/"),
        )
        await eventually(self._answers, 60)

    async def promote(self) -> None:
        db = await self._session()
        await db.execute("SELECT pg_promote(true, 30)")
        await db.close()

    async def stop(self) -> None:
        if self._child is not None:
            await self._child.stop(signal.SIGQUIT, 10)

    async def hand_over(self, place: Path) -> None:
        """What is the primary's from now on, in `place`; there is no standby any more."""
        await self.promote()
        db = await self._session()
        await db.execute("ALTER SYSTEM RESET synchronous_standby_names")
        await db.close()
        assert self._child is not None
        assert await self._child.stop(signal.SIGINT, 30) == 0
        await asyncio.to_thread(shutil.rmtree, place)
        self.data.rename(place)

    async def discard(self) -> None:
        """Stop it, and its folder is gone."""
        await self.stop()
        self._home.close()

    async def _answers(self) -> bool:
        try:
            db = await self._session()
        except (OSError, asyncpg.PostgresError):
            return False
        await db.close()
        return True

    async def _session(self) -> Any:
        password = (self._primary.home.path / "superuser.password").read_text().strip()
        return await asyncpg.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            password=password,
            database="postgres",
        )


async def made(
    primary: Postgres, bin_dir: Path | None = None, connections: int = CONNECTIONS
) -> Standby:
    """One that streams from `primary`, until it is discarded."""
    home = await asyncio.to_thread(Home.open, None, "postgres", unprivileged_user())
    standby = Standby(primary, home, bin_dir, connections)
    try:
        await standby.start()
    except BaseException:
        await standby.discard()
        raise
    return standby


@asynccontextmanager
async def standby_of(primary: Postgres, bin_dir: Path | None = None) -> AsyncGenerator[Standby]:
    """A standby that streams from `primary`; `bin_dir`: of other programs than the packaged ones."""
    standby = await made(primary, bin_dir)
    try:
        yield standby
    finally:
        await standby.discard()
