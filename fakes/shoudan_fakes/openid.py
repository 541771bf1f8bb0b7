"""An OpenID provider for trying logins out: it lets everyone in, with tokens signed for real.

`next_person` is who the next browser is, and `spoil` what is wrong with the next token.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import urlencode

import jwt
import orjson
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from jwt.algorithms import ECAlgorithm

CLIENT: Final = "shoudan"
VALID_S: Final = 300
ALGORITHM: Final = "ES256"

Spoil = Callable[[dict[str, Any]], None]


@dataclass
class Person:
    """Who comes: the subject, and how it proved itself (`amr`)."""

    subject: str
    methods: list[str] = field(default_factory=lambda: ["pwd"])


@dataclass
class _Granted:
    person: Person
    challenge: str
    nonce: str
    redirect: str


def _key() -> tuple[str, EllipticCurvePrivateKey]:
    return secrets.token_hex(4), generate_private_key(SECP256R1())


class OpenIdProvider:
    """One provider on a port of this machine. `signs_with` may differ from what is published."""

    def __init__(self, secret: str | None = None) -> None:
        self.secret, self.next_person = secret, Person("nobody")
        self.spoil: Spoil | None = None
        self.published = [_key()]
        self.signs_with = self.published[0]
        self.down = False
        self.asked: list[str] = []
        self._granted: dict[str, _Granted] = {}
        self._runner: web.AppRunner | None = None
        self.issuer = ""

    async def start(self) -> Self:
        """Serve on any free port of this machine."""
        app = web.Application(middlewares=[self._watch])
        app.router.add_get("/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/keys", self._keys)
        app.router.add_get("/authorize", self._authorize)
        app.router.add_post("/token", self._token)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.issuer = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def stop(self) -> None:
        """Serve no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    def rotate(self) -> None:
        """Publish and use a new key only."""
        self.published = [_key()]
        self.signs_with = self.published[0]

    @web.middleware
    async def _watch(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(request.path)
        return web.Response(status=503) if self.down else await handler(request)

    async def _discovery(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
            }
        )

    async def _keys(self, _: web.Request) -> web.Response:
        keys = [
            {**orjson.loads(ECAlgorithm.to_jwk(key.public_key())), "kid": name, "alg": ALGORITHM}
            for name, key in self.published
        ]
        return web.json_response({"keys": keys})

    async def _authorize(self, request: web.Request) -> web.StreamResponse:
        asked = request.query
        if asked.get("client_id") != CLIENT or asked.get("code_challenge_method") != "S256":
            return web.Response(status=400)
        code = secrets.token_urlsafe(16)
        self._granted[code] = _Granted(
            self.next_person, asked["code_challenge"], asked["nonce"], asked["redirect_uri"]
        )
        back = urlencode({"code": code, "state": asked["state"], "iss": self.issuer})
        raise web.HTTPFound(f"{asked['redirect_uri']}?{back}")

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        granted = self._granted.pop(str(form.get("code")), None)
        digest = hashlib.sha256(str(form.get("code_verifier")).encode()).digest()
        proven = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if (
            granted is None
            or proven != granted.challenge
            or form.get("redirect_uri") != granted.redirect
            or not self._is_client(request, form.get("client_id"))
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        return web.json_response(
            {"access_token": "of no use", "token_type": "Bearer", "id_token": self._signed(granted)}
        )

    def _is_client(self, request: web.Request, named: object) -> bool:
        if self.secret is None:
            return named == CLIENT
        basic = base64.b64encode(f"{CLIENT}:{self.secret}".encode()).decode()
        return request.headers.get("Authorization") == f"Basic {basic}"

    def _signed(self, granted: _Granted) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": granted.person.subject,
            "amr": granted.person.methods,
            "nonce": granted.nonce,
            "iat": now,
            "exp": now + VALID_S,
        }
        if self.spoil is not None:
            self.spoil(claims)
        name, key = self.signs_with
        return jwt.encode(claims, key, ALGORITHM, {"kid": name})
