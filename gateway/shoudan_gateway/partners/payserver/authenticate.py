"""Who calls PayServer: RS256 tokens by local keys; in the demo profile loopback callers need none."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, cast

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from shoudan_gateway import parameters
from shoudan_gateway.config import GatewaySettings
from shoudan_gateway.protocol import (
    Authenticate,
    Caller,
    Endpoint,
    GatewayError,
    Inbound,
    Malformed,
    Problem,
)
from shoudan_kit.credentials.fetched import FetchedSecrets
from shoudan_kit.log import get_logger

ALGORITHMS: Final = ["RS256"]  # the only one: a key's kind must never be the token's choice
REQUIRED: Final = ["exp", "iat", "iss", "aud"]
LEEWAY_S: Final = 60
TOKEN_CHARS_MAX: Final = 4_096
REREAD_S: Final = 1.0
KEYS_MAX: Final = 16
PARAMETER: Final = "token"
PAYSERVER: Final = "payserver"  # kind of the stored keys; each belongs to a kid
OPEN: Final = frozenset({"payNotify", "refundNotify", "payInfo", "refundInfo"})

_LINK_END: Final = re.compile(r"(?:^|/)([A-Za-z0-9_-]{1,64})/?$")
_log = get_logger("gateway.payserver")


def uuid_of(link: str) -> str:
    """The uuid a link ends with, or the uuid itself; "" when there is none."""
    found = _LINK_END.search(link.partition("?")[0])
    return found[1] if found else ""


class Keys:
    """Public keys by kid, from one local file; read again when it has changed and a kid is unknown."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._keys: Mapping[str, Any] = {}
        self._read_at = -REREAD_S
        self._changed = 0

    def find(self, kid: str) -> Any | None:
        """The key; None for one the file does not have."""
        if kid not in self._keys and time.monotonic() - self._read_at >= REREAD_S:
            self._read_at = time.monotonic()
            self._read()
        return self._keys.get(kid)

    def _read(self) -> None:
        if self._path is None:
            return
        try:
            changed = self._path.stat().st_mtime_ns
            if changed == self._changed:
                return
            document = msgspec.json.decode(self._path.read_bytes(), type=dict[str, Any])
            found = jwt.PyJWKSet.from_dict(document).keys[:KEYS_MAX]
        except (OSError, msgspec.MsgspecError, jwt.PyJWTError) as error:
            _log.error("keys_not_read", error=type(error).__name__)
            return
        self._keys = {key.key_id: key.key for key in found if key.key_id and key.key_type == "RSA"}
        self._changed = changed


class StoredKeys:
    """Public keys by kid that operators stored at the pay service; in PEM, read once each."""

    def __init__(self, stored: FetchedSecrets, age_s_max: float) -> None:
        self._stored, self._age_s_max = stored, age_s_max
        self._read: dict[int, Any] = {}

    @property
    def _believed(self) -> bool:
        return self._stored.known and self._stored.age_s <= self._age_s_max

    def check(self) -> None:
        """Raise Problem where a key that is not found may be stored all the same."""
        if not self._believed:
            raise Problem(GatewayError.BUSY)

    def find(self, kid: str) -> Any | None:
        """The key in force; None without one."""
        if not self._believed:
            return None
        found = self._stored.of(PAYSERVER, kid)
        if not found:
            return None
        newest = found[0]
        if newest.credential_id not in self._read:
            if len(self._read) >= KEYS_MAX:
                self._read.clear()
            self._read[newest.credential_id] = _public_key(newest.secret)
        self._stored.use(newest.credential_id)
        return self._read[newest.credential_id]


def _public_key(pem: str) -> RSAPublicKey | None:
    """The RSA key in PEM; None for another kind, and for what is no key."""
    try:
        found = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        _log.error("keys_not_read", error=type(error).__name__)
        return None
    return found if isinstance(found, RSAPublicKey) else None


class Tokens:
    """Tells who a token is; everything that is not right about one is the same refusal."""

    def __init__(self, settings: GatewaySettings, stored: FetchedSecrets) -> None:
        self._keys = Keys(settings.payserver_jwks_file)
        self._stored = StoredKeys(stored, settings.credentials_age_s_max)
        self._issuer, self._audience = settings.payserver_issuer, settings.payserver_audience
        self._everyone = frozenset(settings.payserver_roles_everyone)

    def caller(self, token: str) -> Caller:
        """Raises Problem(SIGN_WRONG)."""
        try:
            claims = self._claims(token)
        except jwt.PyJWTError as error:
            _log.warning("token_refused", error=type(error).__name__)
            raise Problem(GatewayError.SIGN_WRONG) from None
        return self._caller(claims)

    def _claims(self, token: str) -> dict[str, Any]:
        if len(token) > TOKEN_CHARS_MAX or not token.isascii():
            raise jwt.InvalidTokenError
        kid = jwt.get_unverified_header(token).get("kid")
        # Never jku, jwk or x5u: the writer of a token must not choose the key it is checked by.
        key = self._key(kid) if isinstance(kid, str) else None
        if key is None:
            raise jwt.InvalidKeyError
        options: Any = {"require": REQUIRED, "strict_aud": False}
        return jwt.decode(
            token,
            key,
            algorithms=ALGORITHMS,
            audience=self._audience,
            issuer=self._issuer,
            leeway=LEEWAY_S,
            options=options,
        )

    def _key(self, kid: str) -> Any | None:
        """The stored key, else the file's. Raises Problem when the stored ones are not known."""
        key = self._stored.find(kid) or self._keys.find(kid)
        if key is None:
            self._stored.check()
        return key

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        role = claims.get("role")
        everyone = isinstance(role, str) and role in self._everyone
        merchant: Any = claims.get("merchant")
        link = cast("dict[str, Any]", merchant) if isinstance(merchant, dict) else {}
        href, uuid = link.get("href"), link.get("uuid")
        href = href if isinstance(href, str) else ""
        uuid = uuid_of(uuid if isinstance(uuid, str) and uuid else href)
        if not uuid and not everyone:
            raise Problem(GatewayError.SIGN_WRONG)
        return Caller(uuid, href, everyone)


def authenticate(settings: GatewaySettings, stored: FetchedSecrets) -> Authenticate:
    """Authenticates by token; in the demo profile callers on this machine may act for all merchants.

    `stored` has the public keys that are stored at the pay service.
    """
    tokens, demo = Tokens(settings, stored), settings.profile == "demo"
    base_url = settings.public_base_url.rstrip("/")

    def enter(inbound: Inbound, endpoint: Endpoint[Any, Any]) -> Inbound:
        inbound = msgspec.structs.replace(inbound, base_url=base_url)
        if endpoint.path.rpartition("/")[2] in OPEN:
            return inbound  # components prove themselves by the sign of their notifyUrl
        token = _token(inbound)
        if token:
            return msgspec.structs.replace(inbound, caller=tokens.caller(token))
        if demo and _loopback(inbound.remote):
            return msgspec.structs.replace(inbound, caller=Caller(everyone=True))
        raise Problem(GatewayError.SIGN_MISSING)

    return enter


def _token(inbound: Inbound) -> str:
    """The bearer token, else the query's. A header of another scheme is a wrong token."""
    header = inbound.headers.get("Authorization", "")
    if header:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Problem(GatewayError.SIGN_WRONG)
        return token.strip()
    try:
        return parameters.pairs(inbound.query).get(PARAMETER, "")
    except Malformed:
        return ""  # the endpoint's own reader says what is wrong with the query


def _loopback(remote: str) -> bool:
    try:
        address = ip_address(remote.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
