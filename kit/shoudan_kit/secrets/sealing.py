"""Personal data at rest: AES-256-GCM with a ring of keys, and keyed digests to find it again."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shoudan_kit.seal_keys import key_of, keys_of

NONCE_BYTES = 12  # random: safe for 2^32 values of one key, then a new key is due
MAC_BYTES = 16
LOOKUP_BYTES = (
    15  # of a sealed text's digest: whole base64 characters, so that it can be compared as text
)
PHONE_DIGITS_MIN = 5
_NOT_DIGIT = re.compile(r"[^0-9]")
_MOBILE = re.compile(r"1[0-9]{10}")
_SPACING = re.compile(r"[ +-]")
MARK = "~1~"
_SEALED = re.compile(r"~1~[A-Za-z0-9+/=]{60,}")
RECENT_MAX = 20_000
HIDDEN_MIN = 5  # characters a text has at least to be recognised in another one


class Unsealable(ValueError):
    """What is stored was not sealed by us for this row, or its key is not in the ring."""


@dataclass(frozen=True)
class KeyRing:
    """Keys by id; the first one seals, every one opens. The index key stays when keys are changed."""

    keys: Mapping[str, bytes]
    index_key: bytes

    @classmethod
    def parse(cls, keys: str, index_key: str) -> KeyRing:
        """From `id:base64,id:base64` of 32 bytes each, newest first, and base64. ValueError."""
        return cls(keys_of(keys), key_of(index_key))

    @cached_property
    def _ciphers(self) -> dict[bytes, AESGCM]:
        return {name.encode(): AESGCM(key) for name, key in self.keys.items()}

    @property
    def first_id(self) -> str:
        """The id of the key that seals."""
        return next(iter(self.keys))

    @cached_property
    def _current(self) -> tuple[bytes, AESGCM]:
        name, cipher = next(iter(self._ciphers.items()))
        return bytes([len(name)]) + name, cipher

    def seal(self, table: str, key: str | int, plain: bytes) -> bytes:
        """Length of key id, key id, nonce, ciphertext; bound to its row, so it opens nowhere else."""
        head, cipher = self._current
        nonce = os.urandom(NONCE_BYTES)
        return head + nonce + cipher.encrypt(nonce, plain, _place(table, key))

    def open(self, table: str, key: str | int, sealed: bytes) -> bytes:
        """What was sealed for this row. Raises Unsealable."""
        start = 1 + (sealed[0] if sealed else 0)
        cipher = self._ciphers.get(sealed[1:start])
        if cipher is None:
            raise Unsealable(f"{table} {key}: its key is not in the ring")
        nonce, rest = sealed[start : start + NONCE_BYTES], sealed[start + NONCE_BYTES :]
        try:
            return cipher.decrypt(nonce, rest, _place(table, key))
        except (InvalidTag, ValueError):
            raise Unsealable(f"{table} {key}: was not sealed for this row") from None

    def seal_fields(self, table: str, key: str | int, values: Mapping[str, str]) -> bytes | None:
        """Named texts as one sealed value; none for none."""
        return self.seal(table, key, orjson.dumps(values)) if values else None

    def open_fields(self, table: str, key: str | int, sealed: bytes | None) -> dict[str, str]:
        """What seal_fields was given; nothing after an erasure."""
        return orjson.loads(self.open(table, key, sealed)) if sealed else {}

    def phone_mac(self, phone: str) -> bytes | None:
        """What stands for a phone in the index, however it is written; None when it is no phone."""
        digits = plain_phone(phone)
        return self.mac("phone", digits) if digits else None

    def mac(self, what: str, value: str) -> bytes:
        """A keyed digest that finds a value without telling it."""
        return hmac.digest(self.index_key, f"{what}:{value}".encode(), "sha256")[:MAC_BYTES]

    def keyed(self, digest: bytes) -> bytes:
        """A digest under the index key: of contents that could be guessed."""
        return hashlib.blake2b(digest, key=self.index_key, digest_size=MAC_BYTES).digest()

    def content(self, *parts: object) -> bytes:
        """A keyed digest of documents: equal contents, equal digests, and nothing to guess from."""
        key = self.index_key
        return hashlib.blake2b(orjson.dumps(parts), key=key, digest_size=MAC_BYTES).digest()


@dataclass(frozen=True)
class SealedColumn:
    """One text column that is sealed from the first row: `~1~`, keyed digest, sealed value, in base64.

    The digest finds a value without telling it, the sealed value opens in its own row only. Text without
    the mark lies in clear: rows of before, or of a process with `seals` off.
    """

    table: str
    ring: KeyRing
    seals: bool = True
    # What was sealed here a moment ago is opened here most often: (key, text) by what is stored.
    _recent: dict[str, tuple[int, str]] = field(
        default_factory=dict[str, tuple[int, str]], repr=False, compare=False
    )

    def seal(self, key: int, text: str) -> str:
        """What the row with this key stores for `text`; empty stays empty."""
        if not text or not self.seals:
            return text
        sealed = self.ring.seal(self.table, key, text.encode())
        stored = MARK + b2a_base64(self._mac(text) + sealed, newline=False).decode()
        if len(self._recent) >= RECENT_MAX:
            self._recent.clear()
        self._recent[stored] = key, text
        return stored

    def open(self, key: int, stored: str) -> str:
        """The text of a row. Raises Unsealable."""
        recent = self._recent.get(stored)
        if recent is not None and recent[0] == key:
            return recent[1]
        if not is_sealed(stored):
            return stored
        sealed = a2b_base64(stored[len(MARK) :])[LOOKUP_BYTES:]
        return self.ring.open(self.table, key, sealed).decode()

    def lookup(self, text: str) -> str:
        """What every sealed value of this text begins with, however a phone in it is written."""
        return MARK + b2a_base64(self._mac(text), newline=False).decode()

    def _mac(self, text: str) -> bytes:
        plain = f"account:{plain_account(text)}".encode()
        return hashlib.blake2b(plain, key=self.ring.index_key, digest_size=LOOKUP_BYTES).digest()

    def holds(self, stored: str, text: str) -> bool:
        """Whether a row stores this text, sealed or not."""
        if is_sealed(stored):
            return stored.startswith(self.lookup(text))
        return bool(stored) and plain_account(stored) == plain_account(text)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a service keeps accounts: the table, its key, the text column.

    `open` says in SQL which rows still need theirs. `hashed` names a digest beside it from which the
    account could be guessed; it is made a keyed one when the row is sealed.
    """

    table: str
    key: str
    column: str
    open: str
    hashed: str = ""


def is_sealed(stored: str) -> bool:
    """Whether a column's text is sealed."""
    return stored.startswith(MARK) and bool(_SEALED.fullmatch(stored))


def plain_account(text: str) -> str:
    """An account in one spelling: digits without +86 where it is written as a number, else as it is."""
    digits = text if text.isdecimal() else _SPACING.sub("", text)
    if not (digits.isascii() and digits.isdigit()):
        return text
    return digits[2:] if len(digits) == 13 and digits.startswith("86") else digits


def hidden_in(text: str, secret: str) -> str:
    """`text` with `secret` cut to its first three and last two characters, when it is long enough to tell."""
    if len(secret) < HIDDEN_MIN or secret not in text:
        return text
    shown = f"{secret[:3]}****{secret[-2:]}" if len(secret) >= 2 * HIDDEN_MIN else "****"
    return text.replace(secret, shown)


def plain_phone(phone: str) -> str:
    """Digits only, without +86; empty when there are too few for a phone."""
    digits = _NOT_DIGIT.sub("", phone)
    if len(digits) == 13 and digits.startswith("86"):
        digits = digits[2:]
    return digits if len(digits) >= PHONE_DIGITS_MIN else ""


def is_mobile(text: str) -> bool:
    """Whether an account name is a mainland mobile number."""
    return bool(_MOBILE.fullmatch(text))


def _place(table: str, key: str | int) -> bytes:
    return f"{table}|{key}".encode()
