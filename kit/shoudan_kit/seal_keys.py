"""Keys that seal blocks of the audit log. They are in no database: who can write there must not seal."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import Field

# Public, so that a first look needs no set-up; the prod profile refuses them.
DEMO_KEYS: Final = "demo:c2hvdWRhbi1kZW1vLWF1ZGl0LXNob3VkYW4tZGVtby0="
KEY_BYTES: Final = 32
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,16}")
_CONTEXT: Final = b"shoudan audit log block\0"


@dataclass(frozen=True, slots=True)
class SealKeys:
    """Keys by id; the first one seals, every one proves what it sealed."""

    keys: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> SealKeys:
        """From `id:base64,id:base64` of 32 bytes each, newest first. Raises ValueError."""
        return cls(keys_of(text))

    @classmethod
    def mistake(cls, text: str) -> str:
        """What is wrong with this text; empty when it can be used."""
        try:
            cls.parse(text)
        except ValueError as error:
            return str(error)
        return ""

    @property
    def current(self) -> str:
        """The id of the key that seals."""
        return next(iter(self.keys))

    def seal(self, key_id: str, digest: bytes) -> bytes | None:
        """The seal of a block's digest; None when the key is not known here."""
        key = self.keys.get(key_id)
        return None if key is None else hmac.digest(key, _CONTEXT + digest, hashlib.sha256)


def keys_field() -> Any:
    """The setting that holds them."""
    return Field(
        DEMO_KEYS,
        description="Keys that seal the audit log, id:base64 of 32 bytes, newest first; old ones still prove "
        "what they sealed. Never in the database: who can write there must not be able to seal.",
        examples=["k2:…,k1:…"],
    )


def interval_field() -> Any:
    """The setting that says how often rows are sealed."""
    return Field(
        10,
        description="Seconds between looks for rows of the audit log to seal. Who owns the database can "
        "change a row unseen until it is sealed.",
    )


def keys_of(text: str) -> dict[str, bytes]:
    """The keys of `id:base64,id:base64` by id, in the order given. Raises ValueError."""
    ring: dict[str, bytes] = {}
    for part in text.split(","):
        name, _, secret = part.strip().partition(":")
        if not _ID.fullmatch(name) or name in ring:
            raise ValueError("key ids are 1 to 16 letters, digits, - or _, each once")
        ring[name] = key_of(secret)
    return ring


def key_of(text: str) -> bytes:
    """32 bytes of base64. Raises ValueError."""
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("keys are base64") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"keys have {KEY_BYTES} bytes")
    return key
