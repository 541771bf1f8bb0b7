"""HMAC-SHA256-V2: how each call is signed (docs/reference/http/signing.md)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

SIGN_TYPE: Final = "HMAC-SHA256-V2"


def sign(method: str, path: str, params: Mapping[str, str], key: bytes, body: bytes = b"") -> str:
    """Hex over method, path, parameters (all but `sign`) and body."""
    shown = "&".join(
        f"{quote(name, safe='')}={quote(params[name], safe='')}"
        for name in sorted(params, key=str.encode)
        if name != "sign"
    )
    lines = (SIGN_TYPE, method, path, shown, hashlib.sha256(body).hexdigest())
    return hmac.new(key, "\n".join(lines).encode(), hashlib.sha256).hexdigest()
