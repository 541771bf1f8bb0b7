"""Sessions: who a cookie stands for. What is stored can be read with the cookie alone."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shoudan.identity.v1 import identity_service_pb2 as pb
from shoudan.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from shoudan_console import store
from shoudan_console.backend import As, Away, Backend, Rpc
from shoudan_console.config import ConsoleSettings
from shoudan_kit import log
from shoudan_kit.db.errors import survived
from shoudan_kit.db.pool import Database
from shoudan_kit.rpc.refusal import Refused

COOKIE_BYTES: Final = 32
NONCE_BYTES: Final = 12
RENEW_AHEAD_S: Final = 60  # before an access token expires
SWEEP_S: Final = 60.0

_IDENTITY: Final = "shoudan.identity.v1.IdentityService/"
REFRESH: Final = Rpc("identity", IdentityServiceStub, _IDENTITY + "Refresh")
LOGOUT: Final = Rpc("identity", IdentityServiceStub, _IDENTITY + "Logout")
WHO_AM_I: Final = Rpc("identity", IdentityServiceStub, _IDENTITY + "WhoAmI")

_log = log.get_logger("console")


class Tokens(msgspec.Struct, frozen=True):
    """What a session calls with. Without a refresh token an authenticator must be enrolled first."""

    access: str
    access_until: int  # Unix time
    refresh: str
    session_id: int


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that is logged in. `cookie` is the secret; `proved`: password and code came a moment ago."""

    cookie: str
    operator_id: int
    operator: str
    roles: frozenset[str]
    tokens: Tokens
    proved: bool = False
    channels: tuple[str, ...] = ()  # of a partner's account

    @property
    def partner(self) -> bool:
        """A partner's account, which has an entrance of its own."""
        return bool(self.channels)

    @property
    def csrf(self) -> str:
        """What every form of this session carries."""
        return csrf_of(self.cookie)

    @property
    def to_enrol(self) -> bool:
        """Its roles need an authenticator, and there is none."""
        return not self.tokens.refresh


class Ended(Exception):
    """The session is over: log in again."""


def csrf_of(secret: str) -> str:
    """What a form carries to show that it came from a page with this cookie."""
    made = hmac.digest(secret.encode(), b"form", "sha256")
    return base64.urlsafe_b64encode(made).decode().rstrip("=")


def tokens_of(found: pb.Tokens) -> Tokens:
    """As identity gives them."""
    return Tokens(
        found.access_token,
        found.access_expire_time.seconds,
        found.refresh_token,
        found.session_id,
    )


def _hash(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode()).digest()


def _cipher(cookie: str) -> AESGCM:
    return AESGCM(hmac.digest(cookie.encode(), b"tokens", "sha256"))


def _seal(cookie: str, tokens: Tokens) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    body = msgspec.json.encode(tokens)
    return nonce + _cipher(cookie).encrypt(nonce, body, _hash(cookie))


def _open(cookie: str, sealed: bytes) -> Tokens:
    nonce, body = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    opened = _cipher(cookie).decrypt(nonce, body, _hash(cookie))
    return msgspec.json.decode(opened, type=Tokens)


class Sessions:
    """The sessions of all replicas, in the console's own database."""

    def __init__(self, db: Database, backend: Backend, settings: ConsoleSettings) -> None:
        self._db, self._backend, self._settings = db, backend, settings

    async def open(
        self,
        operator: pb.Operator,
        tokens: pb.Tokens,
        *,
        before: str = "",
        proved: bool = False,
        roles: frozenset[str] | None = None,
    ) -> Session:
        """A new session with a new cookie; the one `before` ends in the same transaction."""
        cookie = secrets.token_urlsafe(COOKIE_BYTES)
        may = frozenset(operator.roles) if roles is None else roles
        made = Session(
            cookie, operator.operator_id, operator.name, may, tokens_of(tokens), proved,
            tuple(sorted(operator.channels)),
        )  # fmt: skip
        whose = (made.operator_id, made.operator, sorted(may), list(made.channels))
        async with self._db.begin() as db:
            if before:
                await store.end(db, _hash(before))
            await store.open_session(
                db,
                _hash(cookie),
                whose,
                _seal(cookie, made.tokens),
                self._settings.session_s,
                proved=proved,
            )
        return made

    async def find(self, cookie: str, address: str, *, use: bool = True) -> Session | None:
        """Whose cookie it is, with tokens that can be used; None when the session has ended. `use`: it was a
        person that asked."""
        settings = self._settings
        async with self._db.connect() as db:
            row = await store.find(db, _hash(cookie), settings.session_idle_s, settings.prove_s)
        if row is None:
            return None
        try:
            tokens = _open(cookie, row.sealed)
        except (InvalidTag, msgspec.DecodeError):
            return None
        roles = frozenset(row.roles)
        found = Session(
            cookie, row.operator_id, row.operator, roles, tokens, row.proved, row.channels
        )
        if row.to_note and use:
            async with self._db.begin() as db:
                await store.note_use(db, row.hash)
        # What cannot be renewed, because an authenticator is missing, is good to its very end.
        ahead_s = 0 if found.to_enrol else RENEW_AHEAD_S
        if tokens.access_until - ahead_s > datetime.now(UTC).timestamp():
            return found
        return await self._renewed(found, row, address)

    async def _renewed(self, found: Session, row: store.SessionRow, address: str) -> Session | None:
        """The session with new tokens; None when identity says that it is over. Raises Away."""
        if found.to_enrol:
            return None
        try:
            request = pb.RefreshRequest(refresh_token=found.tokens.refresh)
            tokens = tokens_of(
                (await self._backend.call(REFRESH, request, As(address=address))).tokens
            )
            asked: Any = await self._backend.call(
                WHO_AM_I, pb.WhoAmIRequest(), As(tokens.access, address)
            )
        except Refused as refused:
            _log.info("session_refused", operator=found.operator, reason=refused.reason)
            await self.end(found, at_identity=False)
            return None
        roles, channels = frozenset(asked.token_roles), tuple(sorted(asked.operator.channels))
        async with self._db.begin() as db:
            sealed = _seal(found.cookie, tokens)
            await store.renew(db, row.hash, row.sealed, sealed, sorted(roles), list(channels))
        return replace(found, tokens=tokens, roles=roles, channels=channels)

    async def end(self, session: Session, address: str = "", *, at_identity: bool = True) -> None:
        """Log out here, and at identity when it can be reached. Repeats change nothing."""
        async with self._db.begin() as db:
            await store.end(db, _hash(session.cookie))
        if at_identity and session.tokens.refresh:
            await self.end_tokens(session.tokens, address)

    async def end_tokens(self, tokens: Tokens, address: str) -> None:
        """End a session of identity; it ends by itself where that cannot be done now."""
        with suppress(Away, Refused):
            request = pb.LogoutRequest(refresh_token=tokens.refresh)
            await self._backend.call(LOGOUT, request, As(address=address))

    async def sweep(self) -> None:
        """Delete what has ended, for ever."""
        while True:
            with survived(_log, "sessions_not_swept"):
                async with self._db.begin() as db:
                    await store.sweep(db, self._settings.session_idle_s)
            await asyncio.sleep(SWEEP_S)
