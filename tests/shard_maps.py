"""Services with several shards: their databases, made once per run, and maps of them."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from sqlalchemy import text

from shoudan_kit.db.migrate import role_of, upgrade
from shoudan_kit.db.shard_map import parse
from shoudan_kit.embedded import DatabaseUrls, Postgres
from tests import dropped

Maps = Callable[[str, int], Awaitable[tuple[DatabaseUrls, Path]]]


def shard_map(shards: int, two: DatabaseUrls) -> str:
    """A map whose second half is on a second server; of one shard all is on the first."""
    own = max(1, shards // 2)
    lines = [f"epoch = 1\nshards = {shards}\n"]
    if shards > 1:
        lines.append(
            f'[servers.two]\ndatabase_url = "{two.service}"\nowner_database_url = "{two.owner}"\n'
        )
    lines.append(f'[[ranges]]\nshards = "0-{own - 1}"\nserver = "own"\n')
    if shards > 1:
        lines.append(f'[[ranges]]\nshards = "{own}-{shards - 1}"\nserver = "two"\n')
    return "".join(lines)


async def migrate(service: str, written: str, own: DatabaseUrls) -> None:
    """Make every schema of a map."""
    (entry,) = entry_points(group="shoudan.services", name=service)
    declared: Any = entry.load()
    for home in parse(written, *own, owner=True).homes:
        role = role_of(home.url, home.owner_url)
        await upgrade(service, declared.schema, home.owner_url, role, turnable=True, home=home)


class MapMaker:
    """Databases with the schemas of a map: migrated once per run, then copied."""

    def __init__(self, postgres: Postgres, folder: Callable[[], Path]) -> None:
        self._postgres, self._folder = postgres, folder
        self._templates: dict[tuple[str, int], Sequence[str]] = {}

    async def __call__(self, service: str, shards: int) -> tuple[DatabaseUrls, Path]:
        """The first database, and the file with the map."""
        templates = self._templates.get((service, shards))
        if templates is None:
            templates = await self._template(service, shards)
            self._templates[service, shards] = templates
        copies = [f"{service}_{secrets.token_hex(4)}" for _ in templates]
        for copy, template in zip(copies, templates, strict=True):
            await self._postgres.create_database(copy, service=service, template=template)
            dropped.note(self._postgres, copy)
        own, two = (self._postgres.urls(service, copy) for copy in copies)
        file = self._folder() / "shards.toml"
        file.write_text(shard_map(shards, two))
        return own, file

    async def _template(self, service: str, shards: int) -> Sequence[str]:
        names = [f"{service}_shards_{shards}_{place}" for place in ("own", "two")]
        for name in names:
            await self._postgres.create_database(name, service=service)
        own, two = (self._postgres.urls(service, name) for name in names)
        await migrate(service, shard_map(shards, two), own)
        return names


async def two_servers(
    postgres: Postgres, second: Postgres, service: str, folder: Path
) -> tuple[DatabaseUrls, Path]:
    """Two shards, the second one on a server that a test stops: the first database, and the map."""
    name = f"{service}_{secrets.token_hex(4)}"
    for server in (postgres, second):
        await server.create_database(name, service=service)
    own, written = postgres.urls(service, name), shard_map(2, second.urls(service, name))
    await migrate(service, written, own)
    file = folder / f"{name}.toml"
    file.write_text(written)
    return own, file


async def of_shards(process: Any, sql: str) -> list[list[Any]]:
    """The first column of a query in every shard of a process."""
    found: list[list[Any]] = []
    for cell in process.cells:
        async with cell.app.db.connect() as db:
            found.append(list((await db.execute(text(sql))).scalars()))
    return found


async def pages(call: Any, request: Any) -> list[Any]:
    """Every page of a list, at most 100."""
    found: list[Any] = []
    for _ in range(100):
        found.append(await call(request))
        request.page_token = found[-1].next_page_token
        if not request.page_token:
            return found
    raise AssertionError("no end")
