"""Operators' tokens: short-lived JWTs signed with Ed25519, verified against published key sets."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from grpc import StatusCode as Code

from shoudan_kit import log
from shoudan_kit.db.errors import survived
from shoudan_kit.rpc.caller import Caller
from shoudan_kit.rpc.refusal import KitRefusal
from shoudan_kit.rpc.rights import ROLES

AUDIENCE: Final = "shoudan"
ALGORITHMS: Final = ["EdDSA"]  # the only one: a key's kind must never be the token's choice
REQUIRED: Final = ["exp", "iat", "iss", "aud", "sub", "jti"]
VALID_S: Final = 900  # how long a token is good when its issuer says nothing else
VALID_S_MAX: Final = 86_400  # a token with a longer life is refused: it could not be taken back
LEEWAY_S: Final = 30  # how far the clocks of two machines may differ
TOKEN_CHARS_MAX: Final = 4096
NAME_CHARS_MAX: Final = 64  # as long as `by` of a request may be
KEYS_MAX: Final = 16  # of one key set
KEY_SET_BYTES_MAX: Final = 65_536
VERIFIED_MAX: Final = 1_000  # verified tokens that are remembered; then all are verified anew
FILES_LOOKED_AT_S: Final = 1.0  # seconds between looks at the files of key sets
FETCH_EVERY_S: Final = 60.0
FETCH_AGAIN_S: Final = 5.0  # at the soonest, after a token with an unknown key or a failed fetch

_log = log.get_logger("tokens")


class TokenRefused(KitRefusal, code=Code.UNAUTHENTICATED):
    """A token that is not believed; `why` names the check that failed, never the token's content."""

    why: str


_WHY: Final[Sequence[tuple[type[Exception], str]]] = (
    (jwt.ExpiredSignatureError, "expired"),
    (jwt.ImmatureSignatureError, "not yet valid"),
    (jwt.InvalidIssuerError, "another system's"),
    (jwt.InvalidAudienceError, "another audience's"),
    (jwt.MissingRequiredClaimError, "a claim is missing"),
    (jwt.InvalidSignatureError, "signature"),
)


@dataclass(frozen=True, slots=True)
class Operator:
    """Who a verified token speaks for. `expires_s`: seconds since 1970."""

    caller: Caller
    token_id: str
    expires_s: int

    @property
    def id(self) -> str:
        """Its number, which stays when the name changes."""
        return self.caller.id

    @property
    def name(self) -> str:
        """Its login name."""
        return self.caller.name

    @property
    def roles(self) -> frozenset[str]:
        """Its roles, those alone that exist."""
        return self.caller.roles


# ---------------------------------------------------------------- signing
class TokenSigner:
    """Issues the tokens of one system with one private key."""

    def __init__(self, key: Ed25519PrivateKey, system_id: str) -> None:
        self._key, self._system_id = key, system_id
        self.key_id = key_id(key.public_key())

    def issue(
        self,
        operator_id: str,
        name: str,
        roles: Collection[str],
        valid_s: int = VALID_S,
        channels: Collection[str] = (),
    ) -> str:
        """A token good for `valid_s` seconds; with `channels` one of an account of down channels, which has
        no roles. ValueError: roles that do not exist, or too long a life."""
        if unknown := sorted(set(roles) - set(ROLES)):
            raise ValueError(f"no such role: {', '.join(unknown)}")
        if not 0 < valid_s <= VALID_S_MAX:
            raise ValueError(f"a token is good for 1 to {VALID_S_MAX} seconds")
        if roles and channels:
            raise ValueError("an account of down channels has no roles")
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self._system_id,
            "aud": AUDIENCE,
            "sub": operator_id,
            "name": name[:NAME_CHARS_MAX],
            "roles": sorted(roles),
            "iat": now,
            "exp": now + valid_s,
            "jti": secrets.token_hex(16),
            **({"channels": sorted(channels)} if channels else {}),
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHMS[0], headers={"kid": self.key_id})


def kept_key(file: Path) -> Ed25519PrivateKey:
    """The private key in a file that only its owner may read; made at the first use."""
    try:
        pem = file.read_bytes()
    except FileNotFoundError:
        made = Ed25519PrivateKey.generate()
        pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(pem)
    key = load_pem_private_key(pem, None)
    if not isinstance(key, Ed25519PrivateKey):
        raise TypeError(f"{file}: no Ed25519 key")
    return key


def key_id(key: Ed25519PublicKey) -> str:
    """The thumbprint of RFC 7638, which names a key by what it is."""
    text = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": _x(key)}, separators=(",", ":"))
    return _base64url(hashlib.sha256(text.encode()).digest())


def key_set(keys: Iterable[Ed25519PublicKey]) -> bytes:
    """The document that publishes keys: a JWK set of RFC 7517 and 8037."""
    found = [
        {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": _x(key),
            "kid": key_id(key),
            "use": "sig",
            "alg": ALGORITHMS[0],
        }
        for key in keys
    ]
    return orjson.dumps({"keys": found})


def _x(key: Ed25519PublicKey) -> str:
    return _base64url(key.public_bytes(Encoding.Raw, PublicFormat.Raw))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


# ---------------------------------------------------------------- verifying
def read_key_set(document: bytes) -> dict[str, Ed25519PublicKey]:
    """The Ed25519 keys of a JWK set by kid; others are passed over. ValueError: no key set."""
    if len(document) > KEY_SET_BYTES_MAX:
        raise ValueError("the key set is too large")
    try:
        found = jwt.PyJWKSet.from_dict(orjson.loads(document)).keys[:KEYS_MAX]
    except (ValueError, TypeError, AttributeError, jwt.PyJWTError):
        raise ValueError("no JWK set") from None
    return {
        one.key_id: one.key for one in found if one.key_id and isinstance(one.key, Ed25519PublicKey)
    }


@dataclass
class _File:
    """One key set on disk, read again when it changes."""

    path: Path
    changed: tuple[int, int] | None = None
    keys: dict[str, Ed25519PublicKey] = field(default_factory=dict[str, Ed25519PublicKey])


class TokenVerifier:
    """Says whose a token is. Trusts the keys of its files and those given by `trust`.

    A verified token is remembered until it expires or the keys change, so that a call costs a look-up.
    """

    def __init__(
        self,
        system_id: str,
        files: Iterable[Path] = (),
        *,
        looked_at_s: float = FILES_LOOKED_AT_S,
    ) -> None:
        """`system_id` is the issuer that is believed; without one no token is."""
        self._system_id, self._looked_at_s = system_id, looked_at_s
        self._files = [_File(path) for path in files]
        self._looked = 0.0
        self._given: dict[str, Mapping[str, Ed25519PublicKey]] = {}
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._verified: dict[str, Operator] = {}
        self.unknown_key = asyncio.Event()  # set by a token whose key is in no set

    def trust(self, source: str, keys: Mapping[str, Ed25519PublicKey]) -> None:
        """The keys of `source` are these from now on; those it had before and lacks now are not trusted."""
        self._given[source] = dict(keys)
        self._join()

    def verify(self, token: str) -> Operator:
        """Whose token it is. Raises TokenRefused."""
        self._look_at_files()
        known = self._verified.get(token)
        if known is not None:
            if known.expires_s + LEEWAY_S <= time.time():
                del self._verified[token]
                raise TokenRefused("expired")
            return known
        operator = self._operator(token)
        if len(self._verified) >= VERIFIED_MAX:
            self._verified.clear()
        self._verified[token] = operator
        return operator

    def caller_of(self, token: str) -> Caller:
        """Who calls with this token. Raises TokenRefused."""
        return self.verify(token).caller

    def _operator(self, token: str) -> Operator:
        if not self._system_id:
            raise TokenRefused("this system has no id")
        if len(token) > TOKEN_CHARS_MAX or not token.isascii():
            raise TokenRefused("no token")
        try:
            claims = self._claims(token)
        except jwt.PyJWTError as error:
            why = next((words for kind, words in _WHY if isinstance(error, kind)), "no token")
            raise TokenRefused(why) from None
        return _read(claims)

    def _claims(self, token: str) -> dict[str, Any]:
        kid = jwt.get_unverified_header(token).get("kid")
        # Never jku, jwk or x5u: the writer of a token does not choose the key it is checked by.
        key = self._keys.get(kid) if isinstance(kid, str) else None
        if key is None:
            self.unknown_key.set()
            raise TokenRefused("unknown key")
        return jwt.decode(
            token,
            key,
            algorithms=ALGORITHMS,
            audience=AUDIENCE,
            issuer=self._system_id,
            leeway=LEEWAY_S,
            options={"require": REQUIRED, "strict_aud": True},
        )

    def _look_at_files(self) -> None:
        if not self._files or time.monotonic() - self._looked < self._looked_at_s:
            return
        self._looked = time.monotonic()
        changed = [_reread(one) for one in self._files]
        if any(changed):
            self._join()

    def _join(self) -> None:
        """One look-up table of all sources; what was verified by a key that is gone is forgotten."""
        every = (*(one.keys for one in self._files), *self._given.values())
        self._keys = {kid: key for keys in every for kid, key in keys.items()}
        self._verified.clear()


def _reread(file: _File) -> bool:
    """Whether a file's keys changed. One that is gone has none; one that cannot be read keeps its keys."""
    try:
        stat = file.path.stat()
        changed = (stat.st_mtime_ns, stat.st_size)
        if changed == file.changed:
            return False
        with file.path.open("rb") as opened:
            file.keys = read_key_set(opened.read(KEY_SET_BYTES_MAX + 1))
    except FileNotFoundError:
        gone, file.keys, file.changed = bool(file.keys), {}, None
        return gone
    except (OSError, ValueError) as error:
        _log.error("key_set_not_read", path=str(file.path), error=type(error).__name__)
        return False
    file.changed = changed
    return True


def _is_texts(claim: object) -> bool:
    return isinstance(claim, list) and all(
        isinstance(one, str) for one in cast("list[object]", claim)
    )


def _read(claims: Mapping[str, Any]) -> Operator:
    """The operator of claims whose signature, issuer, audience and time are right."""
    subject, name, roles = claims["sub"], claims.get("name"), claims.get("roles")
    channels = claims.get("channels", [])
    lists = _is_texts(roles) and _is_texts(channels)
    if not (isinstance(subject, str) and subject and isinstance(name, str) and lists):
        raise TokenRefused("a claim is wrong")
    if claims["exp"] - claims["iat"] > VALID_S_MAX:
        raise TokenRefused("valid for too long")
    known = frozenset(cast("list[str]", roles)) & frozenset(ROLES)
    own = frozenset(cast("list[str]", channels))
    who = (name[:NAME_CHARS_MAX], frozenset[str]() if own else known, subject[:NAME_CHARS_MAX])
    return Operator(
        caller=Caller("partner" if own else "operator", *who, own),
        token_id=str(claims["jti"])[:NAME_CHARS_MAX],
        expires_s=int(claims["exp"]),
    )


# ---------------------------------------------------------------- keys that another service publishes
class KeyFetcher:
    """Keeps a verifier's keys those that a service publishes; the last ones stay while it is away.

    With a `cache` file a process that starts while the service is away trusts what was last fetched.
    """

    def __init__(
        self,
        verifier: TokenVerifier,
        source: str,
        fetch: Callable[[], Awaitable[bytes]],
        cache: Path | None = None,
    ) -> None:
        """`fetch` gives a JWK set; whatever it raises counts as away."""
        self._verifier, self._source, self._fetch, self._cache = verifier, source, fetch, cache
        if cache is not None and cache.is_file():
            self._trust(cache.read_bytes())

    async def run(self) -> None:
        """Fetch for ever: each minute, and soon when a token names an unknown key."""
        while True:
            self._verifier.unknown_key.clear()  # before: what comes meanwhile is fetched for again
            fetched = await self.fetch()
            await asyncio.sleep(FETCH_AGAIN_S)
            if fetched:
                try:
                    async with asyncio.timeout(FETCH_EVERY_S - FETCH_AGAIN_S):
                        await self._verifier.unknown_key.wait()
                except TimeoutError:
                    pass

    async def fetch(self) -> bool:
        """Fetch once; whether there is a key set."""
        document = b""
        with survived(_log, "key_set_not_fetched", source=self._source):  # those known stay good
            document = await self._fetch()
        if not document or not self._trust(document):
            return False
        if self._cache is not None:
            fresh = self._cache.with_suffix(".new")
            fresh.write_bytes(document)
            fresh.replace(self._cache)
        return True

    def _trust(self, document: bytes) -> bool:
        try:
            self._verifier.trust(self._source, read_key_set(document))
        except ValueError as error:
            _log.error("key_set_not_read", source=self._source, error=str(error))
            return False
        return True
