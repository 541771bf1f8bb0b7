"""Messages that are keys of shards: the contract says how on the message itself, option `shard_key`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import Descriptor
from grpc import StatusCode as Code

from shoudan.core.v1 import shards_pb2
from shoudan_kit.db.pinned_keys import NONE, PinnedKeys
from shoudan_kit.db.shard_keys import shard_of_key
from shoudan_kit.rpc.refusal import KitRefusal

EVERY: Final = -1  # each shard has a part of what the key names


class ShardsDiffer(KitRefusal, code=Code.INVALID_ARGUMENT):
    """What is one call, or one group of it, is of several shards. Make it in parts."""

    what: str
    shards: int


@dataclass(frozen=True, slots=True)
class MessageKey:
    """Where in a request its key is, and how that message is one."""

    path: tuple[str, ...]
    fields: tuple[str, ...]
    apart: str
    first: frozenset[str]
    every: frozenset[str]

    @classmethod
    def of(cls, message: Descriptor | None, path: str) -> MessageKey:
        """The key at a path, which may lead through repeated fields. KeyError, ValueError: there is none."""
        names = tuple(path.split("."))
        at: Any = message
        for name in names:
            at = at.fields_by_name[name].message_type
        if at is None or not at.GetOptions().HasExtension(shards_pb2.shard_key):
            raise ValueError(f"{path} does not say how it is a key")
        said = at.GetOptions().Extensions[shards_pb2.shard_key]
        for name in (*said.fields, said.apart):
            at.fields_by_name[name]
        fields = tuple[str, ...](said.fields)
        return cls(names, fields, said.apart, frozenset(said.first), frozenset(said.all))

    def shard(
        self, message: Any, shards: int, *, whole: bool = False, pinned: PinnedKeys = NONE
    ) -> int:
        """The one shard of all keys in a message; EVERY when each has a part.

        `whole`: a key that is not given whole names what may be in any shard. Raises ShardsDiffer.
        """
        found = {
            self._of(one, shards, whole=whole, pinned=pinned) for one in _at(message, self.path)
        }
        if len(found) > 1:
            raise ShardsDiffer(".".join(self.path), shards)
        return found.pop() if found else 0

    def _of(self, key: Any, shards: int, *, whole: bool, pinned: PinnedKeys) -> int:
        apart: str = getattr(key, self.apart)
        if apart in self.first:
            return 0
        parts: list[str] = [getattr(key, name) for name in self.fields]
        if apart in self.every or (whole and not (apart and all(parts))):
            return EVERY
        return shard_of_key(parts, shards, pinned)


def _at(message: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """The messages at a path, through repeated fields."""
    if not path:
        yield message
        return
    field = message.DESCRIPTOR.fields_by_name[path[0]]
    value = getattr(message, path[0])
    for one in value if field.is_repeated else (value,):
        yield from _at(one, path[1:])
