"""Recharge accounts as the books have them: a few characters for people, and a keyed digest to compare by.

A phone number is never stored in clear, and nothing here opens it again. Decision 0072.
"""

from __future__ import annotations

import hashlib
from binascii import b2a_base64
from typing import Final

from shoudan_kit.secrets.sealing import LOOKUP_BYTES, hidden_in, plain_account

MARK: Final = "~"  # between what is shown and the digest


class Accounts:
    """Hides accounts under a key; without one it keeps none."""

    def __init__(self, key: bytes | None) -> None:
        self._key = key

    def hidden(self, account: str) -> str:
        """What stands for an account, however a phone is written; what is hidden already stays."""
        if not account or self._key is None:
            return ""
        if MARK in account or "*" in account:  # as hidden as its sender made it: no rule goes by it
            return account
        plain = plain_account(account)
        digest = hashlib.blake2b(
            f"account:{plain}".encode(), key=self._key, digest_size=LOOKUP_BYTES
        ).digest()
        shown = hidden_in(plain, plain)
        words = shown if shown != plain else "****"
        return f"{words}{MARK}{b2a_base64(digest, newline=False).decode()}"


def shown(hidden: str) -> str:
    """What people see of it."""
    return hidden.partition(MARK)[0]
