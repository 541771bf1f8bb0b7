"""What a service keeps credentials for, and what a secret of each kind looks like."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

OWNER_CHARS_MAX: Final = 128
_OWNER: Final = re.compile(r"[^\s\x00-\x1f\x7f|]{1,128}")
SECRET_BYTES_MIN: Final = 16  # shorter ones are guessed
SECRET_BYTES_MAX: Final = 8_192  # a key in PEM
GIVEN_ONLY: Final = "of this kind a secret is given, never drawn"


def one_line(secret: str) -> str:
    """Why a text is no secret of one line; empty when it is."""
    return "" if secret.isprintable() and " " not in secret else "printable, without spaces"


def pem(secret: str) -> str:
    """Why a text is no secret of one line or key in PEM; empty when it is."""
    return "" if secret.startswith("-----BEGIN ") else one_line(secret)


@dataclass(frozen=True, slots=True)
class CredentialKind:
    """One kind. `owner_is` says in words what its owner is; `drawn`: a secret may be made here."""

    name: str
    owner_is: str
    drawn: bool = True
    form: Callable[[str], str] = one_line

    def secret_mistake(self, secret: str) -> str:
        """Why a text is no secret of this kind; empty when it is."""
        size = len(secret.encode())
        if not SECRET_BYTES_MIN <= size <= SECRET_BYTES_MAX:
            return f"has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes"
        return self.form(secret)


def owner_mistake(owner: str) -> str:
    """Why a text is no owner; empty when it is."""
    if _OWNER.fullmatch(owner):
        return ""
    return f"1 to {OWNER_CHARS_MAX} characters, none of them a space or |"
