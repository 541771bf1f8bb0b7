"""Random codes for people and secrets for programs, and the digests that are stored of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Final

RECOVERY_CODES: Final = 10
_RECOVERY_CHARS: Final = 16  # 80 bits: a digest of it cannot be searched
_ONE_TIME_CHARS: Final = 20
SECRET_BYTES: Final = 32


def one_time_password() -> str:
    """A password for one login, to be read out and typed: 100 bits."""
    return _grouped(_ONE_TIME_CHARS)


def recovery_codes() -> list[str]:
    """What replaces the authenticator's codes when it is lost."""
    return [_grouped(_RECOVERY_CHARS) for _ in range(RECOVERY_CODES)]


def plain(code: str) -> str:
    """A code as it counts, however it was typed."""
    return code.replace("-", "").replace(" ", "").upper()


def secret() -> str:
    """A secret for programs: 256 bits."""
    return secrets.token_urlsafe(SECRET_BYTES)


def digest(value: str) -> bytes:
    """What is stored of a random secret; nothing is found by trying, for there is too much to try."""
    return hashlib.sha256(value.encode()).digest()


def is_of(stored: bytes | None, value: str) -> bool:
    """Whether this is the digest of the secret."""
    return stored is not None and hmac.compare_digest(stored, digest(value))


def _grouped(chars: int) -> str:
    text = base64.b32encode(secrets.token_bytes(chars)).decode()[:chars]
    return "-".join(text[at : at + 4] for at in range(0, chars, 4))
