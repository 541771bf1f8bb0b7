"""How a channel may sign its calls: the original's MD5 rule, and ours with HMAC-SHA256 in two versions."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import Final
from urllib.parse import quote

SIGN = "sign"
SIGN_TYPE = "sign_type"
HMAC_SHA256 = "HMAC-SHA256"
HMAC_SHA256_V2 = "HMAC-SHA256-V2"
NONCE_CHARS_MIN, NONCE_CHARS_MAX = 16, 64


def md5_text(params: Mapping[str, str]) -> str:
    """What is signed: every parameter but `sign`, sorted by name, name and value joined."""
    return "".join(name + params[name] for name in sorted(params) if name != SIGN)


def md5_sign(params: Mapping[str, str], key: bytes) -> str:
    """The original's signature: hex of MD5 over the text and the secret. Source: 000 hydra apikey."""
    return hashlib.md5(md5_text(params).encode() + key, usedforsecurity=False).hexdigest()


def hmac_text(method: str, path: str, params: Mapping[str, str], body: bytes) -> bytes:
    """What is signed: METHOD, PATH, sorted k=v joined by &, SHA-256 of the body; one line each."""
    shown = "&".join(f"{name}={params[name]}" for name in sorted(params) if name != SIGN)
    digest = hashlib.sha256(body).hexdigest()
    return f"{method}\n{path}\n{shown}\n{digest}".encode()


def hmac_sign(method: str, path: str, params: Mapping[str, str], body: bytes, key: bytes) -> str:
    """Our signature: hex of HMAC-SHA256 over `hmac_text`."""
    return hmac.new(key, hmac_text(method, path, params, body), hashlib.sha256).hexdigest()


def hmac_v2_text(method: str, path: str, params: Mapping[str, str], body: bytes) -> bytes:
    """What version 2 signs: HMAC-SHA256-V2, METHOD, PATH, sorted k=v joined by &, SHA-256 of the body.

    Names and values are percent-encoded (UTF-8, all but A-Z a-z 0-9 - . _ ~), so that no two sets of
    parameters have the same text: `x="1&y=2"` is not `x="1"` with `y="2"`.
    """
    shown = "&".join(
        f"{quote(name, safe='')}={quote(params[name], safe='')}"
        for name in sorted(params)
        if name != SIGN
    )
    digest = hashlib.sha256(body).hexdigest()
    return f"{HMAC_SHA256_V2}\n{method}\n{path}\n{shown}\n{digest}".encode()


def hmac_v2_sign(method: str, path: str, params: Mapping[str, str], body: bytes, key: bytes) -> str:
    """Hex of HMAC-SHA256 over `hmac_v2_text`."""
    return hmac.new(key, hmac_v2_text(method, path, params, body), hashlib.sha256).hexdigest()


Sign = Callable[[str, str, Mapping[str, str], bytes, bytes], str]
HMACS: Final[Mapping[str, Sign]] = {HMAC_SHA256: hmac_sign, HMAC_SHA256_V2: hmac_v2_sign}
Text = Callable[[str, str, Mapping[str, str], bytes], bytes]
TEXTS: Final[Mapping[str, Text]] = {HMAC_SHA256: hmac_text, HMAC_SHA256_V2: hmac_v2_text}


def fitting(given: str, expected: Iterable[str]) -> int | None:
    """Which of `expected` equals `given`, hex of either case, in constant time for each; None: no one."""
    wanted = given.strip().lower().encode()
    # All are compared: how long it takes must not show which key matched.
    matches = [hmac.compare_digest(wanted, one.encode()) for one in expected]
    return matches.index(True) if any(matches) else None
