"""The signatures of ERPs of this family, for senders configured to sign. Source: protocols §3.1."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final


class Scheme(StrEnum):
    """How a sender signs its query parameters and body."""

    WDT_MD5 = "wdt-md5"
    TOP_MD5 = "top-md5"
    TOP_HMAC = "top-hmac"


SIGN: Final = "sign"


def wdt_text(params: Mapping[str, str], *, utf8_lengths: bool = False) -> str:
    """`05-appkey:0008-test2-xx;…`: pairs by key, each with its lengths, longer ones not cut.

    Lengths count characters, as the vendor's own SDK does; `utf8_lengths` counts bytes.
    """

    def size(text: str) -> int:
        return len(text.encode()) if utf8_lengths else len(text)

    pairs = sorted((k, v) for k, v in params.items() if k != SIGN)
    return ";".join(f"{size(k):02}-{k}:{size(v):04}-{v}" for k, v in pairs)


def wdt_md5(params: Mapping[str, str], secret: str, *, utf8_lengths: bool = False) -> str:
    """旺店通企业版: MD5 of the pairs and the secret, lowercase."""
    text = wdt_text(params, utf8_lengths=utf8_lengths) + secret
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def top_text(params: Mapping[str, str]) -> bytes:
    """Keys and values, by key, nothing between."""
    return "".join(f"{k}{v}" for k, v in sorted(params.items()) if k != SIGN).encode()


def top_md5(params: Mapping[str, str], secret: str, body: bytes = b"") -> str:
    """TOP and 奇门: MD5 of secret, pairs, body, secret, uppercase."""
    key = secret.encode()
    joined = key + top_text(params) + body + key
    return hashlib.md5(joined, usedforsecurity=False).hexdigest().upper()


def top_hmac(params: Mapping[str, str], secret: str, body: bytes = b"") -> str:
    """TOP: HMAC-MD5 of pairs and body, uppercase."""
    return hmac.digest(secret.encode(), top_text(params) + body, "md5").hex().upper()


def _wdt(params: Mapping[str, str], secret: str, body: bytes) -> tuple[str, ...]:
    """The body signs as one more parameter; both ways of counting are met in the field."""
    whole = {**params, "body": body.decode(errors="replace")}
    return (wdt_md5(whole, secret), wdt_md5(whole, secret, utf8_lengths=True))


_MAKERS: Final[dict[Scheme, Callable[[Mapping[str, str], str, bytes], tuple[str, ...]]]] = {
    Scheme.WDT_MD5: _wdt,
    Scheme.TOP_MD5: lambda params, secret, body: (top_md5(params, secret, body),),
    Scheme.TOP_HMAC: lambda params, secret, body: (top_hmac(params, secret, body),),
}


def verified(scheme: Scheme, params: Mapping[str, str], secret: str, body: bytes) -> bool:
    """Whether the `sign` parameter is right. Repeats are not refused: they change nothing."""
    given = params.get(SIGN, "").lower().encode()
    expected = [one.lower().encode() for one in _MAKERS[scheme](params, secret, body)]
    # Every candidate is compared, so that the time taken reveals nothing.
    return sum([hmac.compare_digest(given, one) for one in expected]) > 0
