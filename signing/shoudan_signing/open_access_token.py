"""OPEN-ACCESS-TOKEN: what is signed to get a token, and the header a token travels in.

Source: protocols §1.3.
"""

from __future__ import annotations

import hashlib
from typing import Final

from shoudan_signing.authorization import parse, same

SCHEME: Final = "OPEN-ACCESS-TOKEN"
METHODS: Final = {"": "sha1", "SHA1": "sha1", "SHA256": "sha256"}


def sign(app_id: str, app_key: str, timestamp: str, nonce: str, method: str = "SHA256") -> str:
    """Lower-case hex of the hash over the four joined; SHA1 when no method is named. KeyError."""
    text = f"{app_id}{timestamp}{nonce}{app_key}".encode()
    return hashlib.new(METHODS[method.upper()], text, usedforsecurity=False).hexdigest()


def right(given: str, app_id: str, app_key: str, timestamp: str, nonce: str, method: str) -> bool:
    """Whether `given` is that hash, hex of either case; an unknown method is wrong."""
    known = method.upper() in METHODS
    expected = sign(app_id, app_key, timestamp, nonce, method if known else "SHA256")
    return same(given.lower(), expected) and known


def header(token: str) -> str:
    """The Authorization header of a call with a token."""
    return f'{SCHEME} AccessToken="{token}"'


def read(text: str) -> str | None:
    """The token of a header, quoted or not; None when it is none of this scheme."""
    claim = parse(text)
    if claim is None or claim.scheme.upper() != SCHEME:
        return None
    return claim.get("AccessToken") or None
