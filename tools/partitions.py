"""Cut a server of shards off in one direction at a time, in a network namespace of its own.

    .venv/bin/python tools/partitions.py [SECONDS]

As root, where `unshare`, `ip` and `iptables` are; it starts itself again in a new namespace, so that no rule
of it touches anything else. A whole system of ours has four shards of orders and deliveries, two of them on a
second server, and takes orders of a channel of each. For SECONDS (10) each:

1. the second server's answers are lost: what it commits is not known to those who asked;
2. what is asked of it is lost;
3. the answers of pay are lost: what is posted is not known to the order service.

In 1 and 2 nothing is refused as by a server that is down: it is only silent. Channels of the other shards
are answered all the same, those of a batch with one of these some seconds later. At last every order has
ended once and the laws hold: nothing was delivered, charged or notified twice.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
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
)

SHARDS: Final = 4
PER_S: Final = 6
INSIDE: Final = "SHOUDAN_PARTITIONS_INSIDE"  # set where the namespace is our own
ASKED: Final = "--dport"
ANSWERED: Final = "--sport"


def in_own_namespace(seconds: str) -> int:
    """Start this again where nothing but its own loopback is."""
    here = [sys.executable, __file__, seconds]
    line = 'ip link set lo up && exec "$@"'
    argv = ["unshare", "--net", "sh", "-c", line, "sh", *here]
    return subprocess.run(argv, env=os.environ | {INSIDE: "1"}, check=False).returncode


@asynccontextmanager
async def lost(which: str, port: int) -> AsyncGenerator[None]:
    """Packets to (ASKED) or from (ANSWERED) a port of this namespace are dropped, without a word."""
    rule = ["INPUT", "-i", "lo", "-p", "tcp", which, str(port), "-j", "DROP"]
    await asyncio.to_thread(subprocess.run, ["iptables", "-A", *rule], check=True)
    try:
        yield
    finally:
        await asyncio.to_thread(subprocess.run, ["iptables", "-D", *rule], check=True)


def urls(second: Postgres, service: str) -> DatabaseUrls:
    """A service's database at the second server, by TCP: a socket of files cannot be cut."""
    name = f"shoudan_{service}"
    return DatabaseUrls(second.tcp_url(name, name), second.tcp_url(name, "shoudan_owner"))


async def run(folder: Path, seconds: float) -> None:
    """The whole run. Raises AssertionError for what is lost or made twice."""
    files = {service: folder / f"{service}.toml" for service in SERVICES}
    channels = channel_of_each(SHARDS)
    (catalogue := folder / "catalogue.yaml").write_text(catalogue_with(list(channels.values())))
    env = {f"SHOUDAN_{one.upper()}_SHARDS": str(file) for one, file in files.items()}
    async with await Postgres.start(profile="test") as second:
        await second.provision(SERVICES)
        for service, file in files.items():
            there = {"second": urls(second, service)}
            file.write_text(map_of({"own": "0-1", "second": "2-3"}, there))
        async with System.start(profile="test", env=env, catalogue=catalogue) as system:
            sharded = Sharded(system, files)
            await give_credit(system, list(channels.values()))
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as http:
                inbox = f"{system.sandbox_url}/inbox/many"
                load = Load(http, system.gateway_url, inbox, channels, "many", PER_S)
                loading = asyncio.ensure_future(load.run())
                await load.more(20)
                for which in (ANSWERED, ASKED):
                    await cut_off(load, which, second.port, seconds)
                print(f"pay {ANSWERED}", flush=True)
                async with lost(ANSWERED, system.ports["pay"]):
                    await asyncio.sleep(seconds)
                await load.more(40)
                load.over.set()
                await loading
            await sharded.all_ended(load)
            await sharded.laws()
    print(f"{load.placed} of {load.placed} orders ended once each, the laws hold", flush=True)


async def cut_off(load: Load, which: str, port: int, seconds: float) -> None:
    """The second server, one way; its shards stop, the others do not notice."""
    before = Counter(load.refusals([0, 1]))
    async with lost(which, port):
        await asyncio.sleep(seconds)
        taken = {shard: load.taken[shard] for shard in load.channels}
        await load.more(10, [0, 1])
        stopped = {shard: load.taken[shard] - taken[shard] for shard in (2, 3)}
    assert not any(stopped.values()), stopped
    others = dict(Counter(load.refusals([0, 1])) - before)
    print(f"second {which}: refused {load.refusals([2, 3])}, others {others}", flush=True)
    assert not others, others
    await load.more(20, [2, 3])


def main() -> None:
    """SECONDS."""
    seconds = sys.argv[1] if len(sys.argv) == 2 else "10"
    if len(sys.argv) > 2 or not seconds.isdigit():
        sys.exit(__doc__)
    if not os.environ.get(INSIDE):
        sys.exit(in_own_namespace(seconds))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        asyncio.run(run(Path(folder), float(seconds)))


if __name__ == "__main__":
    main()
