"""The documented shapes of PayServer's numbers: tractionNo, uuid, and the uuid at the end of a link."""

from __future__ import annotations

import base64
import random
import re
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Final

PAY: Final = "1"
REFUND: Final = "2"
UUID_CHARS: Final = 22
PER_MILLISECOND_MAX: Final = 500  # of 1000, so that two processes seldom meet

_MILLISECONDS: Final = 10**12
_LINK_END: Final = re.compile(r"(?:^|/)([A-Za-z0-9_-]{1,64})/?$")


class Numbers:
    """Makes the traction numbers of one process.

    Type digit, the last 12 digits of the epoch in milliseconds, 3 random digits. Within one process they
    never repeat: more than PER_MILLISECOND_MAX borrow from the milliseconds ahead. Against other processes
    a unique constraint guards, and the batch is made again.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._millisecond = 0
        self._left: list[int] = []

    def take(self, kind: str, count: int) -> list[str]:
        """`count` numbers of one kind."""
        return [self._one(kind) for _ in range(count)]

    def _one(self, kind: str) -> str:
        millisecond = int(self._now().timestamp() * 1000)
        if millisecond > self._millisecond:
            self._refill(millisecond)
        elif not self._left:
            self._refill(self._millisecond + 1)
        return f"{kind}{self._millisecond % _MILLISECONDS:012d}{self._left.pop():03d}"

    def _refill(self, millisecond: int) -> None:
        self._millisecond = millisecond
        self._left = random.sample(range(1000), PER_MILLISECOND_MAX)


def new_uuid() -> str:
    """22 letters and digits: 16 random bytes in base64, made again until there is no + and no /."""
    while True:  # each turn ends it with a probability of one half
        text = base64.b64encode(secrets.token_bytes(16)).decode().rstrip("=")
        if text.isalnum():
            return text


def uuid_of(link: str) -> str:
    """The uuid a link ends with, or the uuid itself; "" when there is none."""
    found = _LINK_END.search(link.partition("?")[0])
    return found[1] if found else ""
