"""Personal data at rest: AES-256-GCM with a ring of keys, and keyed digests to find it again."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12  # random: safe for 2^32 values of one key, then a new key is due
MAC_BYTES = 16
PHONE_DIGITS_MIN = 5
_NOT_DIGIT = re.compile(r"[^0-9]")
_MOBILE = re.compile(r"1[0-9]{10}")
_ID = re.compile(r"[A-Za-z0-9_-]{1,16}")


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
        ring: dict[str, bytes] = {}
        for part in keys.split(","):
            name, _, secret = part.strip().partition(":")
            if not _ID.fullmatch(name) or name in ring:
                raise ValueError("key ids are 1 to 16 letters, digits, - or _, each once")
            ring[name] = _key(secret)
        return cls(ring, _key(index_key))

    @cached_property
    def _ciphers(self) -> dict[bytes, AESGCM]:
        return {name.encode(): AESGCM(key) for name, key in self.keys.items()}

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

    def content(self, *parts: object) -> bytes:
        """A keyed digest of documents: equal contents, equal digests, and nothing to guess from."""
        key = self.index_key
        return hashlib.blake2b(orjson.dumps(parts), key=key, digest_size=MAC_BYTES).digest()


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


def _key(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("keys are base64") from None
    if len(key) != 32:
        raise ValueError("keys have 32 bytes")
    return key
