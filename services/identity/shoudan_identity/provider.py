"""One OpenID provider that says who a person is: discovery, the code flow with PKCE, its ID tokens.

OpenID Connect Core 1.0 §3.1, Discovery 1.0, RFC 7636 (PKCE). What a person may
do here is never the provider's word: an operator is linked to a subject, and its roles are ours.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import httpx2
import jwt
import orjson
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import AsyncOAuth2Client

from shoudan_identity.config import IdentitySettings
from shoudan_identity.refusals import ProviderUnavailable
from shoudan_kit import log

ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA")  # what signs with a public key alone
SCOPE: Final = "openid"
CALL_S: Final = 5.0
ANSWER_BYTES_MAX: Final = 256 * 1024
DISCOVERED_S: Final = 3600.0  # how long what the provider says of itself is kept
KEYS_AGAIN_S: Final = 10.0  # at the soonest, after a token with an unknown key
LEEWAY_S: Final = 60
SUBJECT_CHARS_MAX: Final = 255  # OpenID Connect Core §2

_log = log.get_logger("provider")


class Unbelieved(ValueError):
    """Why a code or an ID token is not believed, for the audit; nothing of its content."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who logged in at the provider, and how: `methods` are the token's `amr` (RFC 8176)."""

    subject: str
    methods: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Found:
    """What the provider says of itself."""

    authorize: str
    token: str
    keys: str
    until_s: float


class Provider:
    """The provider of this process's settings. Every call is bounded in time and size."""

    def __init__(
        self,
        settings: IdentitySettings,
        transport: httpx2.AsyncBaseTransport | None = None,
        *,
        keys_again_s: float = KEYS_AGAIN_S,
    ) -> None:
        self._settings, self._transport, self._keys_again_s = settings, transport, keys_again_s
        self._lock = asyncio.Lock()
        self._found: _Found | None = None
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._keys_at_s = 0.0

    @property
    def issuer(self) -> str:
        return self._settings.oidc_issuer

    async def authorization_url(
        self, redirect: str, *, state: str, nonce: str, verifier: str
    ) -> str:
        """Where a browser begins. Refuses ProviderUnavailable."""
        found = await self._discovered()
        async with self._client() as client:
            url, _ = client.create_authorization_url(
                found.authorize,
                state=state,
                code_verifier=verifier,
                redirect_uri=redirect,
                nonce=nonce,
            )
        return url

    async def person(self, code: str, *, redirect: str, nonce: str, verifier: str) -> Person:
        """Who the code was issued for. Raises Unbelieved; refuses ProviderUnavailable."""
        found = await self._discovered()
        try:
            async with self._client() as client:
                tokens: Any = await client.fetch_token(
                    found.token,
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=verifier,
                    redirect_uri=redirect,
                )
        except AuthlibBaseError as error:  # the provider's own "no"
            _log.info("code_refused", error=str(error.error)[:64])
            raise Unbelieved("the provider refused the code") from None
        except (httpx2.HTTPError, ValueError) as error:
            raise self._away("token", error) from None
        token = tokens.get("id_token")
        if not isinstance(token, str):
            raise Unbelieved("the provider gave no ID token")
        return self._read(token, await self._key_of(token), nonce)

    def _read(self, token: str, key: jwt.PyJWK, nonce: str) -> Person:
        """The checks of OpenID Connect Core §3.1.3.7."""
        own = self._settings.oidc_client_id
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                audience=own,
                issuer=self.issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise Unbelieved(f"ID token: {type(error).__name__}") from None
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise Unbelieved("ID token: of another login")
        if claims.get("azp", own) != own:
            raise Unbelieved("ID token: for another client")
        subject, methods = claims["sub"], claims.get("amr", [])
        if not isinstance(subject, str) or not 1 <= len(subject) <= SUBJECT_CHARS_MAX:
            raise Unbelieved("ID token: no subject")
        given = cast("list[object]", methods) if isinstance(methods, list) else []
        return Person(subject, frozenset(map(str, given)))

    async def _key_of(self, token: str) -> jwt.PyJWK:
        """The provider's key that the token names; keys are read anew for one that is unknown."""
        try:
            name = str(jwt.get_unverified_header(token).get("kid", ""))
        except jwt.PyJWTError:
            raise Unbelieved("ID token: no JWT") from None
        if name not in self._keys:
            async with self._lock:
                if name not in self._keys and time.monotonic() > self._keys_at_s:
                    await self._read_keys()
        found = self._keys.get(name)
        if found is None:
            raise Unbelieved("ID token: signed by an unknown key")
        return found

    async def _read_keys(self) -> None:
        found = self._found
        assert found is not None
        document = await self._document(found.keys)
        try:
            keys = jwt.PyJWKSet.from_dict(document).keys
        except jwt.PyJWTError as error:
            raise self._away("keys", error) from None
        self._keys = {one.key_id or "": one for one in keys}
        self._keys_at_s = time.monotonic() + self._keys_again_s

    async def _discovered(self) -> _Found:
        """What the provider says of itself, read once an hour. Refuses ProviderUnavailable."""
        async with self._lock:
            known = self._found
            if known is not None and time.monotonic() < known.until_s:
                return known
            base = self.issuer.rstrip("/")
            document = await self._document(f"{base}/.well-known/openid-configuration")
            if document.get("issuer") != self.issuer:
                raise self._away("discovery", ValueError("another issuer"))
            places = [
                str(document.get(name, ""))
                for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
            ]
            if not all(one.startswith(_scheme(self.issuer)) for one in places):
                raise self._away("discovery", ValueError("an endpoint is missing or in plaintext"))
            authorize, token, keys = places
            self._found = _Found(authorize, token, keys, time.monotonic() + DISCOVERED_S)
            return self._found

    async def _document(self, url: str) -> dict[str, Any]:
        try:
            async with (
                httpx2.AsyncClient(timeout=CALL_S, transport=self._transport) as client,
                client.stream("GET", url) as answer,
            ):
                answer.raise_for_status()
                body = b""
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > ANSWER_BYTES_MAX:
                        raise ValueError("too large")
            document: Any = orjson.loads(body)
        except (httpx2.HTTPError, ValueError) as error:
            raise self._away("discovery", error) from None
        if not isinstance(document, dict):
            raise self._away("discovery", ValueError("no object"))
        return cast("dict[str, Any]", document)

    def _client(self) -> Any:
        secret = self._settings.oidc_client_secret
        return AsyncOAuth2Client(
            client_id=self._settings.oidc_client_id,
            client_secret=secret.reveal() if secret is not None else None,
            token_endpoint_auth_method="client_secret_basic" if secret is not None else "none",
            scope=SCOPE,
            code_challenge_method="S256",
            timeout=CALL_S,
            transport=self._transport,
        )

    def _away(self, step: str, error: Exception) -> ProviderUnavailable:
        _log.warning("provider_unavailable", step=step, error=type(error).__name__)
        return ProviderUnavailable(step)


def _scheme(url: str) -> str:
    """The scheme an endpoint must have: the issuer's own, so that TLS is never left."""
    return url.partition("://")[0] + "://"
