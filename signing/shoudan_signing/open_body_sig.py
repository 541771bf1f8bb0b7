"""OPEN-BODY-SIG and OPEN-FORM-PARAM: HMAC-SHA256 over AppId, Timestamp, Nonce and the hash of the body.

Source: protocols §1.1, §1.2; 003 request header.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

from shoudan_kit.clock import BEIJING
from shoudan_signing.authorization import parse, same

SCHEME: Final = "OPEN-BODY-SIG"
FORM_SCHEME: Final = "OPEN-FORM-PARAM"
NONCE_CHARS_MAX: Final = 128
APP_ID_CHARS_MAX: Final = 64
_STAMP_DIGITS: Final = 14


@dataclass(frozen=True, slots=True)
class BodySig:
    """The four values of the header."""

    app_id: str
    timestamp: str
    nonce: str
    signature: str


def sign(app_id: str, app_key: str, timestamp: str, nonce: str, body: bytes) -> str:
    """The signature of exactly these bytes: 44 characters of Base64."""
    digest = hashlib.sha256(body).hexdigest()
    text = f"{app_id}{timestamp}{nonce}{digest}".encode()
    return base64.b64encode(hmac.digest(app_key.encode(), text, hashlib.sha256)).decode()


def header(app_id: str, app_key: str, timestamp: str, nonce: str, body: bytes) -> str:
    """The whole Authorization header."""
    made = sign(app_id, app_key, timestamp, nonce, body)
    return (
        f'{SCHEME} AppId="{app_id}", Timestamp="{timestamp}", Nonce="{nonce}", Signature="{made}"'
    )


def read(text: str) -> BodySig | None:
    """The values of a header, None when it is none of this scheme or one of them is missing."""
    claim = parse(text)
    if claim is None or claim.scheme.upper() != SCHEME:
        return None
    given = BodySig(
        claim.get("AppId"), claim.get("Timestamp"), claim.get("Nonce"), claim.get("Signature")
    )
    if not (given.app_id and given.timestamp and given.nonce and given.signature):
        return None
    fits = len(given.nonce) <= NONCE_CHARS_MAX and len(given.app_id) <= APP_ID_CHARS_MAX
    return given if fits else None


def right(given: BodySig, app_key: str, body: bytes) -> bool:
    """Whether the signature is the canonical text over these bytes; looser Base64 is wrong."""
    expected = sign(given.app_id, app_key, given.timestamp, given.nonce, body)
    return same(given.signature, expected)


def stamp(moment: datetime) -> str:
    """yyyyMMddHHmmss in Beijing time."""
    return moment.astimezone(BEIJING).strftime("%Y%m%d%H%M%S")


def moment_of(timestamp: str) -> datetime | None:
    """The moment of a stamp, None for what is none."""
    if len(timestamp) != _STAMP_DIGITS or not (timestamp.isascii() and timestamp.isdigit()):
        return None
    try:
        return datetime.strptime(timestamp, "%Y%m%d%H%M%S").replace(tzinfo=BEIJING)
    except ValueError:
        return None


def form_query(app_id: str, app_key: str, timestamp: str, nonce: str, content: str) -> str:
    """The query of a browser jump: signed raw, then encoded with `+` for a blank."""
    return urlencode(
        {
            "authorization": FORM_SCHEME,
            "appId": app_id,
            "timestamp": timestamp,
            "nonce": nonce,
            "content": content,
            "signature": sign(app_id, app_key, timestamp, nonce, content.encode()),
        }
    )
