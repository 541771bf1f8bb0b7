"""`shoudan token ...`: tokens for trying PayServer out, signed with a key of this machine."""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer

app = typer.Typer(no_args_is_help=True)

KEY_FILE: Final = "payserver.key.pem"
JWKS_FILE: Final = "payserver.jwks.json"
KID: Final = "development"
KEY_BITS: Final = 2048
ISSUER: Final = "shoudan"
AUDIENCE: Final = "payserver"


@app.callback()
def token() -> None:
    """PayServer's tokens, for development."""


@app.command()
def issue(
    merchant: Annotated[str, typer.Option(help="merchantUUID it acts for.")] = "",
    merchant_href: Annotated[str, typer.Option(help="Link of the merchant.")] = "",
    role: Annotated[str, typer.Option(help="Role; admin acts for everyone.")] = "merchant",
    hours: Annotated[float, typer.Option(help="Hours it is valid.", min=0.01, max=8760)] = 12,
    keys: Annotated[
        Path, typer.Option(help="Folder of the key pair; made when it is not there.")
    ] = Path("payserver-keys"),
) -> None:
    """Print a token. The gateway believes it when its payserver_jwks_file is the folder's JWKS file."""
    typer.echo(issued(keys, merchant, merchant_href, role, timedelta(hours=hours)))


def issued(keys: Path, merchant: str, merchant_href: str, role: str, valid: timedelta) -> str:
    """A token signed with the folder's key."""
    import jwt

    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now,
        "nbf": now,
        "exp": now + int(valid.total_seconds()),
        "role": role,
    }
    if merchant or merchant_href:
        claims["merchant"] = {"uuid": merchant, "href": merchant_href}
    pem = _private_key(keys)
    return jwt.encode(claims, pem, algorithm="RS256", headers={"kid": KID})


def _private_key(folder: Path) -> bytes:
    """The folder's private key; the pair is made at the first use."""
    path = folder / KEY_FILE
    if path.exists():
        return path.read_bytes()
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )
    from jwt.algorithms import RSAAlgorithm

    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public: dict[str, Any] = json.loads(RSAAlgorithm.to_jwk(key.public_key()))
    document = {"keys": [public | {"kid": KID, "use": "sig", "alg": "RS256"}]}
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / JWKS_FILE).write_text(json.dumps(document))
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    return pem
