"""In which shard a key lives: the same for ever, on every machine. Decision 0032."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from shoudan_kit.ids import shard_of


def shard_of_key(parts: Iterable[str], shards: int) -> int:
    """The shard of a key of one or more texts; `shards` is a power of two.

    SHA-256 over each part's UTF-8 bytes with their count in 4 bytes (big-endian) before them; the low bits
    of the first 8 bytes, read big-endian, are the shard. So with twice the shards each one splits in two.
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(4, "big") + data)
    return int.from_bytes(digest.digest()[:8], "big") & (shards - 1)


def shard_of_number(number: int, shards: int) -> int:
    """The shard that made a number. One that no shard made is looked for, and not found, in the first."""
    made_in = shard_of(number)
    return made_in if made_in < shards else 0
