"""The setting that names a service's map of shards, and what must fit it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from pydantic import Field

from shoudan_kit.db.shard_map import OWN, ShardMap, ShardMapInvalid, read, shards_in, single
from shoudan_kit.db.url import unverified_mistakes


class _Text(Protocol):
    def reveal(self) -> str: ...


class MapSettings(Protocol):
    """What a map is found by; the settings of every service with a database have it."""

    @property
    def profile(self) -> str: ...
    @property
    def database_url(self) -> _Text: ...
    @property
    def owner_database_url(self) -> _Text | None: ...
    @property
    def shards(self) -> Path | None: ...


class ServedSettings(MapSettings, Protocol):
    """What a process with a map has beside it."""

    @property
    def task_shards(self) -> Sequence[str]: ...


def shards_field() -> Any:
    """The setting."""
    return Field(
        None,
        description="TOML file with the map of this service's shards: which schema of which database holds "
        "which keys. Without it there is one shard, in database_url. All services but identity can have"
        " several.",
        examples=["/etc/shoudan/erp_shards.toml"],
    )


def map_of(settings: MapSettings, *, owner: bool = False) -> ShardMap:
    """The map of these settings; `owner`: the owners' URLs are read, too. Raises ShardMapInvalid."""
    own, given = settings.database_url.reveal(), settings.owner_database_url
    own_owner = given.reveal() if given is not None else own
    if settings.shards is None:
        return single(own, own_owner)
    return read(settings.shards, own, own_owner, owner=owner)


def shard_mistakes(settings: ServedSettings, pool_size: int, *, shardable: bool) -> Iterator[str]:
    """What is wrong with the map of a process; nothing without one."""
    if settings.shards is None:
        if settings.task_shards:
            yield "task_shards: there is no map of shards"
        return
    if not shardable:
        yield f"shards = {settings.shards}: this service cannot have several shards"
        return
    try:
        served_map(settings, pool_size)
    except ShardMapInvalid as error:
        yield from error.mistakes


def served_map(settings: ServedSettings, pool_size: int) -> ShardMap:
    """The map as a process needs it: what it says fits the other settings. Raises ShardMapInvalid."""
    try:
        found = map_of(settings)
    except ShardMapInvalid as error:
        said = [f"shards = {settings.shards}: {one}" for one in error.mistakes]
        raise ShardMapInvalid(said) from None
    if mistakes := list(_unfit(settings, found, pool_size)):
        raise ShardMapInvalid(mistakes)
    return found


def _unfit(settings: ServedSettings, found: ShardMap, pool_size: int) -> Iterator[str]:
    for one in settings.task_shards:
        if not shards_in(one, found.shards):
            yield f"task_shards: {one[:40]!r} is no range within 0-{found.shards - 1}"
    for server, homes in found.servers.items():
        if len(homes) > pool_size:
            yield (
                f"db_pool_size = {pool_size}: {len(homes)} shards are on the server {server}, each of which "
                "may need a connection at once"
            )
        if server != OWN:
            place = f"shards = {settings.shards}: servers.{server}.database_url"
            yield from unverified_mistakes(place, homes[0].url, settings.profile)
