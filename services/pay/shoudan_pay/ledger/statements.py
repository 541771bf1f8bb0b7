"""Signed statements of the ledger: the end of every account's chain, provable without the database."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shoudan_pay.config import PUBLIC_KEY, PaySettings

VERSION: Final = 1
KEY_ID_CHARS: Final = 16
_PURPOSE: Final = b"shoudan ledger statement\0"
_CUT: Final = "it does not end with a signed line: it was cut off"


class StatementInvalid(ValueError):
    """Why a statement proves nothing, in words."""


class Statement(msgspec.Struct, frozen=True):
    """What is signed. `heads` is the SHA-256 of the lines of heads above it, as hex.

    `previous` is the hash of the statement before it; `proved_from` the number of the one its proof began
    at, 0 when every record was proved; `full_day` the day of the last statement of which that is true.
    `restart` admits that those before it cannot be relied on. `shard`: whose accounts these are.
    """

    number: int
    day: str
    taken: str
    accounts: int
    records: int
    sum_micros: int
    heads: str
    previous: str
    proved_from: int
    full_day: str
    restart: bool = False
    version: int = VERSION
    shard: int = 0


class _Signed(msgspec.Struct, frozen=True):
    """The last line of a statement's file. The signature is over the bytes of `statement` as they stand."""

    statement: msgspec.Raw
    key: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class Read:
    """A statement whose signature holds, and the hash that the next one quotes."""

    statement: Statement
    key: str
    hash: str


class Keys:
    """Ed25519 keys, one a line: a secret text, or `public:` and 32 bytes in base64.

    The first line signs when it is a secret; every line proves what it signed.
    """

    __slots__ = ("_private", "public")

    def __init__(self, lines: str) -> None:
        """Raises ValueError when there is none, or a public one cannot be read."""
        given = [line.strip() for line in lines.splitlines() if line.strip()]
        if not given:
            raise ValueError("no key")
        secret = not given[0].startswith(PUBLIC_KEY)
        self._private = _private(given[0]) if secret else None
        keys = [_public(line) for line in given]
        self.public = {_id_of(key): key for key in keys}

    @property
    def signs(self) -> bool:
        """Whether the first line is a secret."""
        return self._private is not None

    @property
    def lines(self) -> list[str]:
        """The public lines: what an auditor is given."""
        return [
            f"{PUBLIC_KEY}{base64.b64encode(_raw(key)).decode()}" for key in self.public.values()
        ]

    def sign(self, statement: Statement) -> bytes:
        """The signed line, without its line break."""
        return self.sign_bytes(_PURPOSE, msgspec.json.encode(statement))

    def sign_bytes(self, purpose: bytes, body: bytes) -> bytes:
        """The signed line of some JSON; a signature for one purpose proves nothing for another."""
        assert self._private is not None, "checked with the settings"
        signature = self._private.sign(purpose + body)
        signed = _Signed(msgspec.Raw(body), _id_of(self._private.public_key()), signature)
        return msgspec.json.encode(signed)

    def read(self, line: bytes) -> Read:
        """The statement of a signed line. Raises StatementInvalid."""
        signed = _signed(line)
        try:
            statement = msgspec.json.decode(signed.statement, type=Statement)
        except msgspec.MsgspecError:
            raise StatementInvalid(_CUT) from None
        self._verify(_PURPOSE, signed)
        if statement.version != VERSION:
            raise StatementInvalid(f"its version is {statement.version}, not {VERSION}")
        return Read(statement, signed.key, hashlib.sha256(line).hexdigest())

    def read_bytes(self, purpose: bytes, line: bytes) -> bytes:
        """The JSON of a line that `sign_bytes` made. Raises StatementInvalid."""
        signed = _signed(line)
        self._verify(purpose, signed)
        return bytes(signed.statement)

    def _verify(self, purpose: bytes, signed: _Signed) -> None:
        key = self.public.get(signed.key)
        if key is None:
            raise StatementInvalid(f"it is signed with a key that is not known, {signed.key}")
        try:
            key.verify(signed.signature, purpose + bytes(signed.statement))
        except InvalidSignature:
            raise StatementInvalid("its signature does not fit: it is forged") from None


def _signed(line: bytes) -> _Signed:
    try:
        return msgspec.json.decode(line, type=_Signed)
    except msgspec.MsgspecError:
        raise StatementInvalid(_CUT) from None


@lru_cache(maxsize=16)
def _keys(lines: str) -> Keys:
    """The keys of these lines, made once."""
    return Keys(lines)


def keys_of(settings: PaySettings) -> Keys:
    """The keys of this process."""
    return _keys(settings.ledger_statement_keys.reveal())


def _private(line: str) -> Ed25519PrivateKey:
    # Of any text, so that one is made as every other secret here is; its strength is that of the text.
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(_PURPOSE + line.encode()).digest())


def _public(line: str) -> Ed25519PublicKey:
    if not line.startswith(PUBLIC_KEY):
        return _private(line).public_key()
    raw = base64.b64decode(line.removeprefix(PUBLIC_KEY), validate=True)
    return Ed25519PublicKey.from_public_bytes(raw)


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _id_of(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(_raw(key)).hexdigest()[:KEY_ID_CHARS]
