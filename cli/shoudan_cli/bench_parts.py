"""What benches of single services share: their processes, and an environment free of other settings."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from shoudan_cli.clients import Failed
from shoudan_cli.cpu import usage
from shoudan_kit.embedded import DatabaseUrls, Postgres
from shoudan_kit.embedded.binaries import postgres_bin
from shoudan_kit.embedded.home import unprivileged_user
from shoudan_kit.process.child import Child, tail

LOG_FILES: Final = 32  # of 16 MiB


def environ(service: str, urls: DatabaseUrls, nats_url: str) -> dict[str, str]:
    """This process's variables without any of shoudan's, and where `service` finds its servers."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("SHOUDAN_")}
    return own | {
        f"SHOUDAN_{service.upper()}_DATABASE_URL": urls.service,
        f"SHOUDAN_{service.upper()}_OWNER_DATABASE_URL": urls.owner,
        "SHOUDAN_NATS_URL": nats_url,
    }


async def migrate(service: str, env: Mapping[str, str], home: Path) -> None:
    """Bring the database of `service` up to date. Raises Failed."""
    log = home / "migrate.log"
    child = Child.spawn(_command("migrate", service), env=env, output=log)
    if await child.wait() != 0:
        raise Failed(f"the database was not migrated:\n{tail(log)}")


@asynccontextmanager
async def process(
    name: str, env: Mapping[str, str], home: Path, *words: str
) -> AsyncGenerator[int]:
    """One process of `shoudan <words>`; its pid. Its output goes to `log_of(name, home)`."""
    child = Child.spawn(_command(*words), env=env, output=log_of(name, home))
    try:
        yield child.pid
    finally:
        await child.stop()


async def pgbench(postgres: Postgres, database: str, words: str, *more: str) -> str:
    """What pgbench prints, run as the superuser with these words. Raises Failed."""
    home = postgres.home.path
    log = home / "pgbench.log"
    program = await asyncio.to_thread(postgres_bin, unprivileged_user()) / "pgbench"
    child = Child.spawn(
        [str(program), *words.split(), "-U", "postgres", *more, database],
        env={
            "PATH": "/usr/bin:/bin",
            "PGPASSWORD": (home / "superuser.password").read_text("utf-8").strip(),
            "PGHOST": str(postgres.socket_dir),
            "PGPORT": str(postgres.port),
        },
        output=log,
    )
    if await child.wait() != 0:
        raise Failed(f"pgbench failed:\n{tail(log)}")
    return log.read_text("utf-8")


async def pgbench_tps(postgres: Postgres, database: str, words: str, *more: str) -> float:
    """Transactions a second, as pgbench says. Raises Failed."""
    found = re.search(r"tps = ([0-9.]+)", await pgbench(postgres, database, words, *more))
    if found is None:
        raise Failed("pgbench printed no figure")
    return float(found[1])


async def preallocate_wal(postgres: Postgres) -> None:
    """Give a new server the log files of one that has run for a while.

    A log file is made once and used again after a checkpoint. Making one stops every commit for some
    50 ms, every two or three seconds of a load; that would be the p99 of everything measured.
    """
    async with postgres.admin() as db:
        for _ in range(LOG_FILES):
            await db.execute("SELECT pg_logical_emit_message(true, 'wear in', '')")
            await db.execute("SELECT pg_switch_wal()")
        await db.execute("CHECKPOINT")


def log_of(name: str, home: Path) -> Path:
    """Where a process writes."""
    return home / f"{name}.log"


def cpu_s(roots: Sequence[int]) -> float:
    """CPU seconds of these processes and all below them, the ended ones included."""
    return sum(usage({str(pid): pid for pid in roots}).values())


def peak_mib(pid: int) -> int:
    """The most memory that a process had, as Linux counts it."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return next(int(one.split()[1]) >> 10 for one in lines if one.startswith("VmHWM:"))


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "shoudan_cli", *words]
