"""The Authorization header as these schemes write it: a scheme word, then name=value pairs, quoted or not."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

CHARS_MAX: Final = 2_048
_PAIR: Final = re.compile(r'\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(?:"([^"\\]*)"|([^",\s]*))\s*(?:,|$)')


@dataclass(frozen=True, slots=True)
class Claim:
    """What a caller claims: the scheme's word and its values by lower-case name."""

    scheme: str
    values: Mapping[str, str]

    def get(self, name: str) -> str:
        """The value of `name`, whatever its case; empty when it is not there."""
        return self.values.get(name.lower(), "")


def parse(header: str) -> Claim | None:
    """The claim of a header, None for any other form: too long, a name twice, bytes that are not ASCII."""
    if len(header) > CHARS_MAX or not header.isascii():
        return None
    scheme, _, rest = header.strip().partition(" ")
    values: dict[str, str] = {}
    at = 0
    while at < len(rest):
        found = _PAIR.match(rest, at)
        if found is None:
            return None
        name, quoted, plain = found[1].lower(), found[2], found[3]
        if name in values:
            return None
        values[name] = quoted if quoted is not None else plain
        at = found.end()
    return Claim(scheme, values) if scheme and values else None


def same(given: str, expected: str) -> bool:
    """Whether two signatures are the same text, in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
