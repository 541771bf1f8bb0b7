"""Move shards of orders and deliveries between real servers under load, and take one of the servers away.

    .venv/bin/python tools/shards.py POSTGRES_BIN

POSTGRES_BIN holds the programs of a PostgreSQL with TLS, 16 or newer (`tools/postgres_17.sh` makes them on an
older Debian), for two servers beside the packaged one. Sessions with them, and copies between them, are TLS,
names verified. A whole system of ours has eight shards and takes orders of a channel of each:

1. a shard of each service moves to the second server;
2. a third server is added, and the shards are spread over all three;
3. the second one is killed: its channels are answered 503 and no others are; then its standby takes over.

At last every order has ended once and the laws hold. docs/operations.md says what the last run showed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import aiohttp

from shoudan_cli.system import System
from shoudan_kit.embedded import DatabaseUrls, Postgres
from tests.cluster.sharded import (
    SERVICES,
    Load,
    Sharded,
    catalogue_with,
    channel_of_each,
    give_credit,
    map_of,
    may_be_copied,
    spread,
)
from tests.kit.standby import Standby, standby_of

SHARDS: Final = 8
ORDERS: Final = 350
PER_S: Final = 8
AWAY_S: Final = 10

RULES: Final = (
    "local all all scram-sha-256",
    "local replication all scram-sha-256",
    "hostssl all all 127.0.0.1/32 scram-sha-256",
)


@dataclass(frozen=True)
class Server:
    """A PostgreSQL that takes nothing but TLS from other processes."""

    postgres: Postgres
    authority: Path

    def urls(self, service: str, also: Standby | None = None) -> DatabaseUrls:
        """The service's database there, or at the standby once that is primary."""
        ports = [self.postgres.port, *([also.port] if also else [])]
        hosts = ",".join(f"localhost:{port}" for port in ports)
        verified = f"sslmode=verify-full&sslrootcert={self.authority}"

        def url(role: str) -> str:
            plain = self.postgres.tcp_url(f"shoudan_{service}", role)
            return f"{plain.replace(f'127.0.0.1:{self.postgres.port}', hosts)}?{verified}"

        return DatabaseUrls(url(f"shoudan_{service}"), url("shoudan_owner"))


@asynccontextmanager
async def server(bin_dir: Path, pki: Path) -> AsyncGenerator[Server]:
    """One with the databases of both services, empty; gone at the end."""
    async with await Postgres.start(profile="test", programs=lambda _: bin_dir) as made:
        home = made.home
        for name in ("tls.crt", "tls.key"):
            copy = home.path / name
            shutil.copy(pki / "postgres/current" / name, copy)
            copy.chmod(0o600)
            if home.user is not None:
                os.chown(copy, home.user.uid, home.user.gid)
        (home.path / "data/pg_hba.conf").write_text("\n".join(RULES) + "\n")
        async with made.admin() as db:
            await db.execute("ALTER SYSTEM SET ssl = 'on'")
            await db.execute("ALTER SYSTEM SET ssl_min_protocol_version = 'TLSv1.3'")
            await db.execute(f"ALTER SYSTEM SET ssl_cert_file = '{home.path}/tls.crt'")
            await db.execute(f"ALTER SYSTEM SET ssl_key_file = '{home.path}/tls.key'")
            await may_be_copied(db.execute)
        await made.restart()
        await made.provision(SERVICES)
        yield Server(made, pki / "postgres/current/ca.crt")


async def commits_wait_for_the_standby(postgres: Postgres) -> None:
    """None that was answered is lost with the primary."""
    async with postgres.admin() as db:
        await db.execute("ALTER SYSTEM SET synchronous_standby_names = 'walreceiver'")
        await db.execute("SELECT pg_reload_conf()")


async def moved(sharded: Sharded, load: Load) -> None:
    """One shard to the second server, with its deliveries."""
    others = [one for one in load.channels if one != 3]
    before, before_others = load.refusals([3]), load.refusals(others)
    for service in SERVICES:
        print((await sharded.command("shard", "move", service, "3", "second")).strip(), flush=True)
        await load.more(20, [3])
    its = Counter(load.refusals([3])) - Counter(before)
    rest = Counter(load.refusals(others)) - Counter(before_others)
    print(f"moved: answers but 200 meanwhile, shard 3 {dict(its)}, others {dict(rest)}", flush=True)


async def spread_over(sharded: Sharded, load: Load, third: Server) -> None:
    """A server more, and the shards over all three."""
    for service in SERVICES:
        await sharded.add_server(service, "third", third.urls(service))
    count = await spread(sharded, "own", "second", "third")
    await load.more(40)
    for service in SERVICES:
        on = {one: sharded.shards_on(service, one) for one in ("own", "second", "third")}
        print(f"spread by {count} moves in all: {service} {on}", flush=True)
        assert {2, 3} == {len(shards) for shards in on.values()}, on


async def taken_over(sharded: Sharded, load: Load, second: Server, standby: Standby) -> None:
    """The second server killed, and after a while its standby promoted."""
    its = sorted({one for service in SERVICES for one in sharded.shards_on(service, "second")})
    others = [one for one in load.channels if one not in its]
    before = load.refusals(others)
    await second.postgres.kill()
    began = time.monotonic()
    await load.more(AWAY_S * PER_S * len(others) // SHARDS, others)
    assert load.refusals(others) == before, "a server that is away is felt by its shards alone"
    print(
        f"second is away: shards {its} refused {load.refusals(its)}, others none more", flush=True
    )
    promoting = time.monotonic()
    await standby.promote()
    await load.more(1, its)
    now = time.monotonic()
    print(
        f"its shards go on {now - promoting:.1f} s after the promotion, {now - began:.1f} s after the kill"
    )
    await load.more(40, its)


def certificates(folder: Path) -> Path:
    """An authority and a server's certificate, which the servers' user may read."""
    pki = folder / "pki"
    argv = [sys.executable, "-m", "shoudan_cli", "pki", "init", "--folder", str(pki)]
    subprocess.run([*argv, "postgres=localhost"], check=True, stdout=subprocess.DEVNULL)
    for one in (folder, pki, pki / "postgres", (pki / "postgres/current").resolve()):
        one.chmod(0o755)
    (pki / "postgres/current/ca.crt").chmod(0o644)
    return pki


async def run(bin_dir: Path, folder: Path) -> None:
    """The whole run. Raises AssertionError for what is lost."""
    pki = certificates(folder)
    files = {service: folder / f"{service}.toml" for service in SERVICES}
    channels = channel_of_each(SHARDS)
    (catalogue := folder / "catalogue.yaml").write_text(catalogue_with(list(channels.values())))
    env = {f"SHOUDAN_{one.upper()}_SHARDS": str(file) for one, file in files.items()}
    async with (
        server(bin_dir, pki) as second,
        server(bin_dir, pki) as third,
        standby_of(second.postgres, bin_dir) as standby,
    ):
        await commits_wait_for_the_standby(second.postgres)
        for service, file in files.items():
            there = {"second": second.urls(service, standby)}
            file.write_text(map_of({"own": "0-3", "second": "4-7"}, there))
        async with System.start(profile="test", env=env, catalogue=catalogue) as system:
            await under_load(Sharded(system, files), channels, second, third, standby)


async def under_load(
    sharded: Sharded, channels: Mapping[int, str], second: Server, third: Server, standby: Standby
) -> None:
    """All three steps, and what is left of them."""
    system = sharded.system
    async with system.postgres.admin() as db:
        await may_be_copied(db.execute)
    await system.restart("postgres")
    await give_credit(system, list(channels.values()))
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as http:
        inbox = f"{system.sandbox_url}/inbox/many"
        load = Load(http, system.gateway_url, inbox, channels, "many", PER_S)
        loading = asyncio.ensure_future(load.run())
        await load.more(40)
        await moved(sharded, load)
        await spread_over(sharded, load, third)
        await taken_over(sharded, load, second, standby)
        await load.more(max(0, ORDERS - load.placed))
        load.over.set()
        await loading
    await sharded.all_ended(load)
    await sharded.laws()
    print(f"{load.placed} of {load.placed} orders ended once each, the laws hold", flush=True)


async def main() -> None:
    """POSTGRES_BIN."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        await run(Path(sys.argv[1]).resolve(), Path(folder))


if __name__ == "__main__":
    asyncio.run(main())
