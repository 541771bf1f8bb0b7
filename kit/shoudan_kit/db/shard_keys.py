"""In which shard a key lives: the same for ever, on every machine. Decision 0032."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from shoudan_kit.db.pinned_keys import NONE, PinnedKeys
from shoudan_kit.ids import shard_of

SERIALS: Final = 10**12  # numbers of a sequence that a shard has: in decimals, as people read them
MADE_MIN: Final = 1 << 56  # numbers made since 2021 are above it, those of a sequence below


def shard_of_key(parts: Iterable[str], shards: int, pinned: PinnedKeys = NONE) -> int:
    """The shard of a key of one or more texts, the first one of a pinned key; `shards` is a power of two."""
    hash_ = hash_of_key(parts)
    return 0 if hash_ in pinned else hash_ & (shards - 1)


def hash_of_key(parts: Iterable[str]) -> int:
    """What stands for a key.

    SHA-256 over each part's UTF-8 bytes with their count in 4 bytes (big-endian) before them; the first 8
    bytes, read big-endian. Its low bits are the shard, so with twice the shards each one splits in two.
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(4, "big") + data)
    return int.from_bytes(digest.digest()[:8], "big")


def shard_of_number(number: int, shards: int) -> int:
    """The shard that made a number, or whose sequence counted it. One of neither is looked for, and not
    found, in the first."""
    made_in = shard_of(number) if number >= MADE_MIN else number // SERIALS
    return made_in if 0 <= made_in < shards else 0
