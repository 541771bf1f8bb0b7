"""Keys that stay in the first shard whatever their hash: those that had rows when a service got its map.

They are a file beside the map: their hashes, 8 bytes each, rising. The map names its SHA-256.
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path
from typing import Final

BYTES: Final = 8  # of one hash, big-endian
FILE_BYTES_MAX: Final = 1 << 30  # 134 million keys
SUFFIX: Final = ".pinned"


class PinnedKeys:
    """Hashes of keys. Those of a map that is not read from a file are not there, only their name."""

    __slots__ = ("_hashes", "sha256")

    def __init__(self, sha256: str = "", data: bytes = b"") -> None:
        self.sha256 = sha256
        self._hashes = array("Q", data)
        if sys.byteorder == "little":
            self._hashes.byteswap()

    def __contains__(self, hash_: int) -> bool:
        at = bisect_left(self._hashes, hash_)
        return at < len(self._hashes) and self._hashes[at] == hash_

    def __len__(self) -> int:
        return len(self._hashes)


NONE: Final = PinnedKeys()


def encoded(hashes: Iterable[int]) -> bytes:
    """The contents of a file."""
    return b"".join(one.to_bytes(BYTES, "big") for one in sorted(set(hashes)))


def digest(data: bytes) -> str:
    """What a map names a file by."""
    return hashlib.sha256(data).hexdigest()


def beside(map_file: Path) -> Path:
    """The file of a map."""
    return map_file.with_name(map_file.name + SUFFIX)


def read(map_file: Path, sha256: str) -> PinnedKeys:
    """Those that a map names. Raises OSError; ValueError when they are others."""
    with beside(map_file).open("rb") as file:
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) % BYTES or digest(data) != sha256:
        raise ValueError("is not the one that the map names")
    return PinnedKeys(sha256, data)
