"""A system whose orders and deliveries are in shards: its map, a load over all of them, the laws over all."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from shoudan.pay.v1 import ledger_service_pb2 as pay
from shoudan.pay.v1 import ledger_service_pb2_grpc as pay_grpc
from shoudan_cli.system import System, demo_catalogue
from shoudan_kit.db.owner import as_owner
from shoudan_kit.db.shard_keys import shard_of_key
from shoudan_kit.db.shard_map import ShardMap, read
from shoudan_kit.db.shard_map_text import replace_file
from shoudan_kit.db.shard_move import Move
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.process.polling import until
from shoudan_kit.service import services
from tests.poll import eventually
from tests.system import invariants

SERVICES = ("order", "delivery")  # the two with the same shards
VOUCHER = {"line_id": "2", "carrier_no": "DZQ", "num": "1", "face": "50", "amount": "47.5"}
TAKEN_S = 90
ENDED_S = 120
MOVE_S = 120
FIRST = "  - channel_no: ycdown\n"
CHANNEL = """  - channel_no: NAME
    channel_name: NAME
    auth_mode: none
    allowed_networks: [127.0.0.0/8]
    notify_networks: [127.0.0.0/8]
    shelves:
      - shelf_id: NUMBER
        shelf_name: NAME
        products:
          - { product_id: NUMBER, line_id: 2, carrier_no: DZQ, face: 50,
              sell_discount: 0.95, limit_count: 10 }
"""
SERVER = """
[servers.{name}]
database_url = "{urls.service}"
owner_database_url = "{urls.owner}"
"""


def channel_of_each(shards: int) -> dict[int, str]:
    """A channel for every shard."""
    found: dict[int, str] = {}
    for number in itertools.count(1):
        name = f"many-{number}"
        found.setdefault(shard_of_key([name], shards), name)
        if len(found) == shards:
            return dict(sorted(found.items()))
    raise AssertionError


def catalogue_with(channels: Sequence[str]) -> str:
    """The demonstration catalogue and these channels, each with a product of its own."""
    written = demo_catalogue().read_text()
    assert FIRST in written
    more = (
        CHANNEL.replace("NAME", one).replace("NUMBER", str(900 + n))
        for n, one in enumerate(channels)
    )
    return written.replace(FIRST, "".join(more) + FIRST, 1)


def map_of(ranges: Mapping[str, str], servers: Mapping[str, DatabaseUrls]) -> str:
    """A map's first text: which server has which shards, `own` among them."""
    shards = 1 + max(int(one.rpartition("-")[2]) for one in ranges.values())
    text = f"epoch = 1\nshards = {shards}\n"
    text += "".join(SERVER.format(name=name, urls=urls) for name, urls in servers.items())
    for server, one in ranges.items():
        text += f'\n[[ranges]]\nshards = "{one}"\nserver = "{server}"\n'
    return text


def name_server(file: Path, name: str, urls: DatabaseUrls) -> None:
    """A server that holds nothing yet, in the map of the next epoch."""
    text = file.read_text()
    (epoch,) = re.findall(r"^epoch = (\d+)$", text, re.MULTILINE)
    text = text.replace(f"epoch = {epoch}\n", f"epoch = {int(epoch) + 1}\n", 1)
    spare = SERVER.format(name=name, urls=urls) + "spare = true\n"
    replace_file(file, text.replace("\n[[ranges]]", f"{spare}\n[[ranges]]", 1))


async def give_credit(system: System, channels: Sequence[str]) -> None:
    """Enough for all orders."""
    clients = system.clients()
    for one in channels:
        key = pay.AccountKey(ident="oms", groups="down_channel", eid=one)
        credit = pay.UpdateAccountRequest(key=key, credit_micros=10**13)
        await clients.call("pay", pay_grpc.LedgerServiceStub, "UpdateAccount", credit)
    await clients.close()


@dataclass
class Load:
    """A partner for each channel that places orders at a steady pace and repeats one until it is taken."""

    http: aiohttp.ClientSession
    url: str
    inbox: str
    channels: Mapping[int, str]  # by shard
    prefix: str
    per_s: float = 8
    placed: int = 0
    taken: Counter[int] = field(default_factory=Counter[int])
    refused: dict[int, Counter[int]] = field(default_factory=lambda: defaultdict(Counter[int]))
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def one(self, shard: int, number: int) -> None:
        key = {"channel_no": self.channels[shard], "request_no": f"{self.prefix}-{number}"}
        wanted = {**key, **VOUCHER, "invoice_type": "1", "notify_url": self.inbox}

        async def taken() -> bool:
            try:
                async with self.http.get(f"{self.url}/order/request", params=wanted) as answer:
                    await answer.read()
                    status = answer.status
            except (aiohttp.ClientError, TimeoutError, OSError):
                status = 0
            self.refused[shard][status] += status != 200
            return status == 200

        await eventually(taken, TAKEN_S, every_s=0.2)
        self.taken[shard] += 1

    async def run(self) -> None:
        turns = itertools.cycle(self.channels)
        async with asyncio.TaskGroup() as group:
            while not await until(self.over.is_set, 1 / self.per_s, every_s=0.02):
                group.create_task(self.one(next(turns), self.placed))
                self.placed += 1

    async def more(self, count: int, shards: Sequence[int] | None = None) -> None:
        """Until so many more were taken, of these shards alone if they are named."""

        def so_far() -> int:
            return sum(self.taken[one] for one in shards or self.channels)

        wanted = so_far() + count
        await eventually(lambda: so_far() >= wanted, TAKEN_S, every_s=0.05)

    def refusals(self, shards: Sequence[int]) -> dict[int, int]:
        """How often each status other than 200 was answered to channels of these shards."""
        return dict(+sum((self.refused[one] for one in shards), Counter[int]()))


@dataclass(frozen=True)
class Sharded:
    """A running system and the maps of its two services."""

    system: System
    files: Mapping[str, Path]

    def map(self, service: str) -> ShardMap:
        """As the file has it now."""
        return read(self.files[service], *self.system.databases[service], owner=True)

    def move(self, service: str, shard: int, server: str) -> Move:
        """One that could be made."""
        known, schema = self.map(service), services()[service].schema
        assert schema is not None
        return Move(service, schema, shard, known, known.moved(shard, server), turnable=True)

    def shards_on(self, service: str, server: str) -> list[int]:
        return [home.shard for home in self.map(service).homes if home.server == server]

    async def command(self, *args: str) -> str:
        """What `shoudan` prints; AssertionError with its words when it fails."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "shoudan_cli", *args),
            env={**os.environ, **self.system.env},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(MOVE_S):
            out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()

    async def add_server(self, service: str, name: str, urls: DatabaseUrls) -> None:
        """As docs/operations.md has it done: in the map, which the schemas are marked with."""
        name_server(self.files[service], name, urls)
        await self.command("migrate", service)

    async def rows(self, service: str, sql: str, *args: Any) -> list[dict[str, Any]]:
        """Of all shards of a service, where its map says they are."""
        if service not in self.files:
            async with self.system.postgres.admin(f"shoudan_{service}") as admin:
                db: Any = admin
                return [dict(row) for row in await db.fetch(sql, *args)]
        found: list[dict[str, Any]] = []
        for home in self.map(service).homes:
            async with as_owner(home.owner_url, home.schema) as session:
                driver: Any = (await session.get_raw_connection()).driver_connection
                found += [dict(row) for row in await driver.fetch(sql, *args)]
        return found

    async def all_ended(self, load: Load) -> None:
        """Every order that was placed is there once, delivered, its supplier paid, its partner notified."""

        async def ended() -> bool:
            sql = """SELECT request_no FROM oms_order_info WHERE starts_with(request_no, $1)
                AND order_status = 0 AND notify_status = 0 AND complete_up_pay = 0"""
            found = await self.rows("order", sql, f"{load.prefix}-")
            return sorted(one["request_no"] for one in found) == sorted(
                f"{load.prefix}-{n}" for n in range(load.placed)
            )

        if not await until(ended, ENDED_S, every_s=0.5):
            sql = """SELECT order_id, request_no, order_status, notify_status, complete_up_pay, parked_reason
                FROM oms_order_info WHERE starts_with(request_no, $1)
                AND NOT (order_status = 0 AND notify_status = 0 AND complete_up_pay = 0) LIMIT 3"""
            raise AssertionError(await self.rows("order", sql, f"{load.prefix}-"))

    async def laws(self) -> None:
        """All that must hold in a system at rest, over all shards."""
        await invariants.check(self.system, rows=self.rows)


async def spread(system: Sharded, *servers: str) -> int:
    """Make the moves that `shard split-plan` prints, for both services; how many there were."""
    moves = [
        tuple(line.split()[1:])
        for service in system.files
        for line in (await system.command("shard", "split-plan", service, *servers)).splitlines()
        if line.startswith("shoudan shard move ")
    ]
    for one in moves:
        print((await system.command(*one)).strip(), flush=True)
    return len(moves)


async def may_be_copied(execute: Callable[[str], Awaitable[object]]) -> None:
    """What docs/operations.md has a superuser do once on a server that shards leave or come to."""
    await execute("ALTER SYSTEM SET wal_level = 'logical'")
    await execute("ALTER ROLE shoudan_owner REPLICATION")
    await execute("GRANT pg_create_subscription TO shoudan_owner")
