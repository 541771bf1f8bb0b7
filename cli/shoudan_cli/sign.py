"""`shoudan sign <scheme>`: the header or signature of a body, so that a partner can compare byte by byte.

The key never stands on the command line, where other users of a machine could read it.
"""

from __future__ import annotations

import os
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import parse_qsl

import typer

from shoudan_signing import (
    key_signature,
    open_access_token,
    open_body_sig,
    tsk_hmac,
    tsk_rsa2,
    tvs_hmac,
)

KEY_VARIABLE: Final = "SHOUDAN_SIGN_KEY"

app = typer.Typer(no_args_is_help=True)

Body = Annotated[
    Path | None, typer.Argument(help="File of the exact body; standard input without it.")
]
AppId = Annotated[str, typer.Option(help="AppId.")]
KeyFile = Annotated[
    Path | None,
    typer.Option(help=f"File of the key; without it {KEY_VARIABLE}, else it is asked for."),
]
Stamp = Annotated[str, typer.Option("--timestamp", help="Time as the scheme writes it; now.")]
Nonce = Annotated[str, typer.Option(help="Random text; made when it is not given.")]


@app.command("open-body")
def open_body(
    app_id: AppId, body: Body = None, key_file: KeyFile = None, stamp: Stamp = "", nonce: Nonce = ""
) -> None:
    """OPEN-BODY-SIG: the Authorization header of ChinaUMS. Timestamp: yyyyMMddHHmmss, Beijing."""
    key, raw = _key(key_file), _bytes(body)
    stamp = stamp or open_body_sig.stamp(_now())
    typer.echo(open_body_sig.header(app_id, key, stamp, nonce or _nonce(), raw))


@app.command("open-form")
def open_form(
    app_id: AppId, body: Body = None, key_file: KeyFile = None, stamp: Stamp = "", nonce: Nonce = ""
) -> None:
    """OPEN-FORM-PARAM: the query of a browser jump to ChinaUMS; the body is its content."""
    key, raw = _key(key_file), _bytes(body)
    stamp = stamp or open_body_sig.stamp(_now())
    typer.echo(open_body_sig.form_query(app_id, key, stamp, nonce or _nonce(), raw.decode()))


@app.command("open-token")
def open_token(
    app_id: AppId,
    stamp: Annotated[str, typer.Option("--timestamp", help="yyyyMMddHHmmss, Beijing; now.")] = "",
    nonce: Nonce = "",
    method: Annotated[str, typer.Option(help="SHA256 or SHA1.")] = "SHA256",
    key_file: KeyFile = None,
) -> None:
    """The signature that asks ChinaUMS for an access token, with the values it was made of."""
    if method.upper() not in open_access_token.METHODS:
        raise typer.BadParameter("SHA256 or SHA1", param_hint="--method")
    stamp, nonce = stamp or open_body_sig.stamp(_now()), nonce or _nonce()
    made = open_access_token.sign(app_id, _key(key_file), stamp, nonce, method)
    typer.echo(f"timestamp={stamp} nonce={nonce} signature={made}")


@app.command("key")
def key(
    body: Body = None,
    kind: Annotated[str, typer.Option(help="MD5 or SHA256.")] = "SHA256",
    raw: Annotated[
        bool, typer.Option("--raw", help="Values stand as they are, not URL-encoded.")
    ] = False,
    key_file: KeyFile = None,
) -> None:
    """The sign of a ChinaUMS notify; the body is its form (name=value&…)."""
    hashed = kind.upper()
    if hashed not in {"MD5", "SHA256"}:
        raise typer.BadParameter("MD5 or SHA256", param_hint="--kind")
    text = _bytes(body).decode().rstrip("\r\n")
    pairs = [one.split("=", 1) for one in text.split("&")] if raw else parse_qsl(text)
    params = {pair[0]: pair[-1] for pair in pairs}
    made = key_signature.sign(params, _key(key_file), "MD5" if hashed == "MD5" else "SHA256")
    typer.echo(made)


@app.command("tsk-hmac")
def tsk(body: Body = None, key_file: KeyFile = None, stamp: Stamp = "") -> None:
    """TSK-HMAC-SHA256-BASIC: the Authorization header of Dingdang. Time: 20170720T193559Z."""
    secret, raw = _key(key_file), _bytes(body)
    typer.echo(tsk_hmac.header(secret, stamp or tsk_hmac.stamp(_now()), raw))


@app.command("tsk-rsa2")
def rsa2(body: Body = None, key_file: KeyFile = None, stamp: Stamp = "") -> None:
    """TSK-RSA2: the later Authorization header of Dingdang; the key is a private key in PEM."""
    pem, raw = _key(key_file), _bytes(body)
    try:
        made = tsk_rsa2.header(pem, stamp or tsk_hmac.stamp(_now()), raw)
    except ValueError:
        raise typer.BadParameter("no RSA private key in PEM of 2048 bits or more") from None
    typer.echo(made)


@app.command("tvs")
def tvs(
    credential_key: Annotated[str, typer.Option(help="CredentialKey: the app's key.")],
    body: Body = None,
    key_file: KeyFile = None,
    stamp: Stamp = "",
) -> None:
    """TVS-HMAC-SHA256-BASIC: as tsk-hmac, with the name of the key; the key is the access token."""
    token, raw = _key(key_file), _bytes(body)
    typer.echo(tvs_hmac.header(credential_key, token, stamp or tsk_hmac.stamp(_now()), raw))


def _key(file: Path | None) -> str:
    if file is not None:
        return file.read_text("utf-8").strip()
    return os.environ.get(KEY_VARIABLE, "") or typer.prompt("Key", hide_input=True, err=True)


def _bytes(file: Path | None) -> bytes:
    """Exactly what is in the file: a line end at its end is signed, too."""
    return sys.stdin.buffer.read() if file is None else file.read_bytes()


def _nonce() -> str:
    return secrets.token_hex(16)


def _now() -> datetime:
    return datetime.now(UTC)
