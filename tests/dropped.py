"""Databases of tests go when the module that made them is over: a run makes hundreds, in memory."""

from __future__ import annotations

from contextlib import suppress

import asyncpg

from shoudan_kit.embedded import Postgres

_made: list[tuple[Postgres, str]] = []


def note(server: Postgres, name: str) -> None:
    """A test has made this database."""
    _made.append((server, name))


def mark() -> int:
    """What `drop_since` counts from."""
    return len(_made)


async def drop_since(begun: int) -> None:
    """Drop those that were made since; one that is connected to belongs to more than a module, and stays."""
    made = _made[begun:]
    for server in {id(server): server for server, _ in made}.values():
        async with server.admin() as db:
            used = {row[0] for row in await db.fetch("SELECT datname FROM pg_stat_activity")}
            for name in {name for one, name in made if one is server} - used:
                with suppress(
                    asyncpg.ObjectInUseError
                ):  # a copy of it is followed, or it is in use again
                    await db.execute(f'DROP DATABASE IF EXISTS "{name}"')
