"""The 虚拟货源 standard interface: MD5 over application, body, time and merchant, secrets among them.

Source: docs/reference/http/goofish.md.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode

SCHEME: Final = "goofish"  # the auth_mode of its channels
CREDENTIAL: Final = "goofish"  # kind of the credentials of applications, by their number


@dataclass(frozen=True, slots=True)
class Parties:
    """Who calls whom: the platform's application and its merchant here, each with a secret."""

    app_id: str
    app_secret: str = field(repr=False)
    mch_id: str
    mch_secret: str = field(repr=False)


def sign(parties: Parties, timestamp: str, body: bytes) -> str:
    """Lower-case hex over these bytes and this time; the same rule both ways."""
    digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
    one = parties
    words = (one.app_id, one.app_secret, digest, timestamp, one.mch_id, one.mch_secret)
    return hashlib.md5(",".join(words).encode(), usedforsecurity=False).hexdigest()


def signed_url(url: str, parties: Parties, timestamp: str, body: bytes) -> str:
    """The address of a call with what proves it behind."""
    query = {
        "mch_id": parties.mch_id,
        "timestamp": timestamp,
        "sign": sign(parties, timestamp, body),
    }
    plain, _, fragment = url.partition("#")
    joint = "&" if "?" in plain else "?"
    return f"{plain}{joint}{urlencode(query)}" + (f"#{fragment}" if fragment else "")
