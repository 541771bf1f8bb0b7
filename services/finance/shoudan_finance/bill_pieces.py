"""The bytes of a bill as they are written, cut into pieces, with their hash and how many they are."""

from __future__ import annotations

import hashlib
from typing import Any, Final

PIECE_BYTES: Final = 1 << 20


class Pieces:
    """A sink of bytes. What is whole is taken; what is left is taken at the end."""

    def __init__(self) -> None:
        self._left = bytearray()
        self._sha: Any = hashlib.sha256()  # its type has no public name
        self.bytes, self.number = 0, 0

    def write(self, data: bytes, /) -> int:
        """Append bytes."""
        self._sha.update(data)
        self._left += data
        self.bytes += len(data)
        return len(data)

    def take(self, *, rest: bool = False) -> list[tuple[int, bytes]]:
        """Whole pieces with their numbers; with `rest` also the last one."""
        taken: list[tuple[int, bytes]] = []
        while len(self._left) >= PIECE_BYTES or (rest and self._left):
            self.number += 1
            taken.append((self.number, bytes(self._left[:PIECE_BYTES])))
            del self._left[:PIECE_BYTES]
        return taken

    @property
    def sha256(self) -> str:
        """Of all bytes, as hex."""
        digest: str = self._sha.hexdigest()
        return digest
