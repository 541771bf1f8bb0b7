"""What each shard of a process has, where a number that stands inside a message says which one is meant."""

from __future__ import annotations

from typing import Generic, TypeVar

from shoudan_kit.db.shard_keys import shard_of_number
from shoudan_kit.rpc.shard_router import ShardAway

T = TypeVar("T")


class ByShard(Generic[T]):
    """One part for each shard that is open. A process has it once (`App.once`)."""

    def __init__(self, shards: int) -> None:
        self._shards = shards
        self._parts: dict[int, T] = {}

    def put(self, shard: int, part: T) -> None:
        """The part of a shard that has been composed."""
        self._parts[shard] = part

    def of_number(self, number: int) -> tuple[int, T]:
        """The shard that made the number, and its part. Refuses ShardAway before it is open."""
        shard = shard_of_number(number, self._shards)
        if shard not in self._parts:
            raise ShardAway(shard)
        return shard, self._parts[shard]
