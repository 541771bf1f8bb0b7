"""A signature inside a form: sorted `name=value` pairs, the shared key behind them, MD5 or SHA-256.

Source: protocols §1.7.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, Literal

from shoudan_signing.authorization import same

Hash = Literal["MD5", "SHA256"]

SIGN: Final = "sign"
SIGN_TYPE: Final = "signType"
_SHA256_CHARS: Final = 64


def text(params: Mapping[str, str]) -> str:
    """What is signed: everything but `sign` and what is empty, sorted by name, values as they are."""
    names = sorted(name for name, value in params.items() if value and name != SIGN)
    return "&".join(f"{name}={params[name]}" for name in names)


def sign(params: Mapping[str, str], key: str, kind: Hash = "SHA256") -> str:
    """Upper-case hex over the text with the key directly behind it."""
    signed = (text(params) + key).encode()
    name = "md5" if kind == "MD5" else "sha256"
    return hashlib.new(name, signed, usedforsecurity=False).hexdigest().upper()


def kind_of(params: Mapping[str, str]) -> Hash | None:
    """Which hash a message uses: as signType says, else by length; None for another signType."""
    named = params.get(SIGN_TYPE, "").upper()
    if named:
        return "MD5" if named == "MD5" else "SHA256" if named == "SHA256" else None
    return "SHA256" if len(params.get(SIGN, "")) == _SHA256_CHARS else "MD5"


def right(params: Mapping[str, str], key: str) -> bool:
    """Whether `sign` fits, hex of either case."""
    kind = kind_of(params)
    return same(params.get(SIGN, "").upper(), sign(params, key, kind or "SHA256")) and bool(kind)
