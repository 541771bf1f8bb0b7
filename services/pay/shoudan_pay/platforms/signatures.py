"""Authenticates callers: signatures over raw bytes, clocks, shared nonces, equal work for unknown callers."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit import log
from shoudan_kit.credentials.kinds import CredentialKind
from shoudan_kit.credentials.live import LiveSecrets
from shoudan_kit.secrets import named_secret
from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.credential_kinds import DINGDANG, DINGDANG_OWN, UMS
from shoudan_pay.platforms.refusals import ProofInvalid
from shoudan_pay.platforms.store import callers as store
from shoudan_pay.platforms.store.callers import Domain, UmsApp
from shoudan_pay.refusals import FieldInvalid
from shoudan_signing import open_access_token, open_body_sig, tsk_hmac, tsk_rsa2, tvs_hmac
from shoudan_signing.open_body_sig import BodySig
from shoudan_signing.tsk_hmac import Tsk

# Unknown callers are verified against these, so that the time of a refusal does not reveal who exists.
DUMMY_KEY: Final = secrets.token_hex(32)
NO_SIG: Final = BodySig("-", "", "-", "")
NO_TSK: Final = Tsk("", "")
NONCE_CHARS_MAX: Final = 64
FORGET_S: Final = 600
LOGGED_CHARS_MAX: Final = 64

_log = log.get_logger("security")


@dataclass(frozen=True, slots=True)
class Proof:
    """How a call proves itself. `malformed` names a field that could not be read."""

    body: bytes
    authorization: str
    remote_ip: str
    malformed: str


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A ChinaUMS developer signs for an access token."""

    proof: Proof
    app_id: str
    timestamp: str
    nonce: str
    sign_method: str
    signature: str


class Signatures:
    """Verifies calls. Every refusal is logged once; every accepted call uses up its nonce."""

    def __init__(self, app: App[PaySettings], stored: LiveSecrets) -> None:
        """`stored` are the platforms' credentials; they go before the named secrets."""
        self._app, self._stored = app, stored

    async def ums(self, proof: Proof) -> UmsApp:
        """The credential of a ChinaUMS call, by signature or token. Raises ProofInvalid, FieldInvalid."""
        token = open_access_token.read(proof.authorization)
        if token is not None:
            found = await self._by_token(token, proof)
        else:
            found = await self._by_signature(open_body_sig.read(proof.authorization), proof)
        _readable(proof)
        return found

    async def ums_token(self, request: TokenRequest) -> str:
        """A new token for who signed for it. Raises ProofInvalid, FieldInvalid."""
        async with self._app.db.connect() as db:
            found = await store.app_by_id(db, request.app_id)
            keys = self._ums_keys(found)
            rights = [
                open_access_token.right(
                    request.signature,
                    request.app_id,
                    key,
                    request.timestamp,
                    request.nonce,
                    request.sign_method,
                )
                for key in keys
            ]
            self._check_clock(
                open_body_sig.moment_of(request.timestamp), request.app_id, request.proof
            )
            if not any(rights) or found is None or not request.nonce:
                raise _refused("signature", request.app_id, request.proof)
            self.note_used(UMS, found.app_id, keys[rights.index(True)])
            await self._use(
                db, f"ums-token:{found.app_id}", request.nonce, request.proof, once=True
            )
            _readable(request.proof)
            token = secrets.token_hex(16)
            await store.add_token(db, found.app_id, hashlib.sha256(token.encode()).digest())
        return token

    async def domain(
        self, proof: Proof, role: str, domain_id: str, nonce: str, call: str
    ) -> Domain:
        """The domain of a Dingdang call. Raises ProofInvalid, FieldInvalid.

        The same bytes may come again with the same nonce, as notices do; other bytes may not.
        """
        async with self._app.db.connect() as db:
            found = await store.domain_by_id(db, role, domain_id)
            stamped, right = self._domain_right(found, proof)
            moment = tsk_hmac.moment_of(stamped)
            late = not self._near(moment, self._app.settings.dingdang_window_s)
            if not right or late or found is None:
                raise _refused("clock" if right and late else "signature", domain_id, proof)
            if nonce:
                scope = f"dingdang:{call}:{found.domain_id}"
                await self._use(db, scope, nonce, proof, once=False)
        _readable(proof)
        return found

    async def forget_forever(self) -> None:
        """Delete expired nonces and tokens, forever."""
        while True:
            async with self._app.work("platforms_forget") as work:
                await store.forget(work.db)
            await asyncio.sleep(FORGET_S)

    def keys(self, kind: CredentialKind, owner: str, secret_name: str) -> tuple[str, ...]:
        """The keys of an owner, the one to sign with first: those stored, then those of a named secret."""
        named = named_secret.lines(secret_name, self._app.settings.secrets_dir)
        return (*self._stored.texts(kind.name, owner), *named)

    def note_used(self, kind: CredentialKind, owner: str, key: str) -> None:
        """A signature fitted this key of an owner."""
        for one in self._stored.of(kind.name, owner):
            if hmac.compare_digest(one.secret.encode(), key.encode()):
                self._stored.use(one.credential_id)

    def _whole(self, kind: CredentialKind, domain: Domain, secret_name: str) -> tuple[str, ...]:
        """The same where a key is one text, such as PEM."""
        named = named_secret.text(secret_name, self._app.settings.secrets_dir)
        stored = self._stored.texts(kind.name, owner_of(domain))
        return (*stored, *([named] if named else []))

    def authorization(self, domain: Domain, body: bytes) -> str:
        """The header we sign a call to this domain with; empty when its secret is nowhere."""
        stamped = tsk_hmac.stamp(self._app.wall_clock.now())
        keys = self._own_keys(domain)
        if not keys:
            return ""
        if domain.scheme == "tsk_rsa2":
            return tsk_rsa2.header(keys[0], stamped, body)
        if domain.scheme == "tvs_hmac":
            return tvs_hmac.header(domain.credential_key, keys[0], stamped, body)
        return tsk_hmac.header(keys[0], stamped, body)

    def _own_keys(self, domain: Domain) -> tuple[str, ...]:
        """What we sign with at a domain: keys of our own there, else those it signs with."""
        read = self._whole if domain.scheme == "tsk_rsa2" else self._lines
        own = read(DINGDANG_OWN, domain, domain.own_secret_name)
        if own or domain.own_secret_name:
            return own
        return read(DINGDANG, domain, domain.secret_name)

    def _lines(self, kind: CredentialKind, domain: Domain, secret_name: str) -> tuple[str, ...]:
        return self.keys(kind, owner_of(domain), secret_name)

    async def _by_token(self, token: str, proof: Proof) -> UmsApp:
        async with self._app.db.connect() as db:
            found = await store.app_by_token(db, hashlib.sha256(token.encode()).digest())
        if found is None:
            raise _refused("token", "", proof)
        return found

    async def _by_signature(self, claim: BodySig | None, proof: Proof) -> UmsApp:
        given = claim or NO_SIG
        async with self._app.db.connect() as db:
            found = await store.app_by_id(db, given.app_id)
            keys = self._ums_keys(found)
            rights = [open_body_sig.right(given, key, proof.body) for key in keys]
            if claim is not None:
                self._check_clock(open_body_sig.moment_of(given.timestamp), given.app_id, proof)
            if not any(rights) or found is None:
                raise _refused("signature", given.app_id, proof)
            self.note_used(UMS, found.app_id, keys[rights.index(True)])
            await self._use(db, f"ums:{found.app_id}", given.nonce, proof, once=True)
        return found

    def _ums_keys(self, found: UmsApp | None) -> tuple[str, ...]:
        keys = self.keys(UMS, found.app_id, found.secret_name) if found is not None else ()
        return keys or (DUMMY_KEY,)

    def _check_clock(self, moment: datetime | None, who: str, proof: Proof) -> None:
        if moment is None:
            raise _refused("timestamp", who, proof)
        if not self._near(moment, self._app.settings.ums_window_s):
            raise _refused("clock", who, proof)

    def _near(self, moment: datetime | None, window_s: float) -> bool:
        if moment is None:
            return False
        return abs((self._app.wall_clock.now() - moment).total_seconds()) <= window_s

    def _domain_right(self, found: Domain | None, proof: Proof) -> tuple[str, bool]:
        """The time a call is signed with, and whether its signature fits one of the domain's keys."""
        scheme = found.scheme if found is not None else "tsk_hmac"
        if scheme == "tsk_rsa2":
            rsa = tsk_rsa2.read(proof.authorization) or NO_TSK
            pems = self._whole(DINGDANG, found, found.secret_name) if found is not None else ()
            return rsa.datetime, self._fits(
                found, lambda pem: tsk_rsa2.right(rsa, pem, proof.body), pems or ("",)
            )
        keys = (self._lines(DINGDANG, found, found.secret_name) if found else ()) or (DUMMY_KEY,)
        if scheme == "tvs_hmac":
            tvs = tvs_hmac.read(proof.authorization) or tvs_hmac.Tvs("", "", "")
            named = found is not None and tvs.credential_key == found.credential_key
            return tvs.datetime, named and self._fits(
                found, lambda key: tvs_hmac.right(tvs, key, proof.body), keys
            )
        given = tsk_hmac.read(proof.authorization) or NO_TSK
        return given.datetime, self._fits(
            found, lambda key: tsk_hmac.right(given, key, proof.body), keys
        )

    def _fits(
        self, domain: Domain | None, right: Callable[[str], bool], keys: tuple[str, ...]
    ) -> bool:
        # No short cut: the time must not reveal which key fitted.
        rights = [right(key) for key in keys]
        if domain is None or not any(rights):
            return False
        self.note_used(DINGDANG, owner_of(domain), keys[rights.index(True)])
        return True

    async def _use(
        self, db: AsyncConnection, scope: str, nonce: str, proof: Proof, *, once: bool
    ) -> None:
        if len(nonce) > NONCE_CHARS_MAX:
            nonce = hashlib.sha256(nonce.encode()).hexdigest()
        digest = hashlib.sha256(proof.body).digest()
        settings = self._app.settings
        keep_s = 2 * min(max(settings.ums_window_s, settings.dingdang_window_s), 86_400)
        before = await store.use_nonce(db, scope, nonce, digest, keep_s)
        if before is not None and (once or before != digest):
            raise _refused("nonce", scope, proof)


def owner_of(domain: Domain) -> str:
    """Whose the credentials of a Dingdang domain are."""
    return f"{domain.role}/{domain.domain_id}"


def _readable(proof: Proof) -> None:
    """Only who has proved itself learns what is wrong with its fields."""
    if proof.malformed:
        raise FieldInvalid(proof.malformed[:LOGGED_CHARS_MAX], "cannot be read")


def _refused(why: str, who: str, proof: Proof) -> ProofInvalid:
    _log.warning("proof_refused", why=why, who=who[:LOGGED_CHARS_MAX], remote_ip=proof.remote_ip)
    return ProofInvalid("timestamp" if why == "timestamp" else "proof")
