"""`shoudan sign <scheme>`: the header or signature of a body, so that a partner can compare byte by byte.

The key never stands on the command line, where other users of a machine could read it.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import typer

from shoudan_signing import (
    channel,
    key_signature,
    open_access_token,
    open_body_sig,
    tsk_hmac,
    tsk_rsa2,
    tvs_hmac,
    webhooks,
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


@app.command("channel")
def channel_call(
    url: Annotated[str, typer.Argument(help="Path or address with its query, without sign.")],
    method: Annotated[str, typer.Option(help="GET or POST.")] = "GET",
    form: Annotated[Path | None, typer.Option(help="File of the body, a form or JSON.")] = None,
    scheme: Annotated[
        str, typer.Option(help="HMAC-SHA256-V2, HMAC-SHA256 or MD5.")
    ] = channel.HMAC_SHA256_V2,
    key_file: KeyFile = None,
    stamp: Annotated[str, typer.Option("--timestamp", help="Seconds since 1970; now.")] = "",
    nonce: Nonce = "",
) -> None:
    """A call of a channel: the text that is signed (on standard error) and the signed address."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    body = form.read_bytes() if form is not None else b""
    if scheme in channel.HMACS:
        query |= {"sign_type": scheme, "timestamp": stamp or str(int(_now().timestamp()))}
        query["nonce"] = nonce or _nonce()
    elif scheme != "MD5":
        raise typer.BadParameter("HMAC-SHA256-V2, HMAC-SHA256 or MD5", param_hint="--scheme")
    key = _key(key_file).encode()
    params = {name: value for name, value in (query | _members(body)).items() if name != "sign"}
    if scheme == "MD5":
        text, made = channel.md5_text(params), channel.md5_sign(params, key)
    else:
        verb, path = method.upper(), parts.path
        text = channel.TEXTS[scheme](verb, path, params, body).decode()
        made = channel.HMACS[scheme](verb, path, params, body, key)
    typer.echo(text, err=True)
    signed = urlencode(query | {"sign": made}, quote_via=quote)
    typer.echo(urlunsplit(parts._replace(query=signed)))


def _members(body: bytes) -> dict[str, str]:
    """The parameters of a form or of a JSON object, its numbers as they are written."""
    text = body.decode()
    if not text.lstrip().startswith("{"):
        return dict(parse_qsl(text, keep_blank_values=True))
    members: dict[str, object] = json.loads(text, parse_int=str, parse_float=str)
    wrong = [name for name, value in members.items() if not isinstance(value, str)]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]}: text or a number", param_hint="--form")
    return {name: str(value) for name, value in members.items()}


@app.command("notify")
def notify(
    body: Body = None,
    message_id: Annotated[str, typer.Option("--id", help="webhook-id.")] = "",
    stamp: Annotated[str, typer.Option("--timestamp", help="webhook-timestamp; now.")] = "",
    check: Annotated[str, typer.Option(help="webhook-signature to check; signs without.")] = "",
    key_file: KeyFile = None,
) -> None:
    """The headers of a notify to a channel, or whether those it came with are right."""
    secrets_, raw = _key(key_file).split(), _bytes(body)
    seconds = stamp or str(int(_now().timestamp()))
    if not (seconds.isascii() and seconds.isdecimal()):
        raise typer.BadParameter("whole seconds since 1970", param_hint="--timestamp")
    if not check:
        made = webhooks.signed(secrets_, message_id or f"msg_{_nonce()}", int(seconds), raw)
        for name, value in made.items():
            typer.echo(f"{name}: {value}")
        return
    names = (webhooks.ID, webhooks.TIMESTAMP, webhooks.SIGNATURE)
    headers: dict[str, str] = dict(zip(names, (message_id, seconds, check), strict=True))
    try:
        webhooks.verify(secrets_, headers, raw, int(seconds))
    except webhooks.NotVerified as error:
        typer.echo(f"not verified: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo("verified")


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
