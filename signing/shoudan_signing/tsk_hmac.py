"""TSK-HMAC-SHA256-BASIC: HMAC-SHA256 over the body and a UTC time.

Source: protocols §2; TencentDingdang security.md.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from shoudan_signing.authorization import parse, same

SCHEME: Final = "TSK-HMAC-SHA256-BASIC"
_STAMP_CHARS: Final = 16
_STAMP: Final = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Tsk:
    """The values of the header; both TSK schemes have these."""

    datetime: str
    signature: str


def sign(secret: str, stamped: str, body: bytes) -> str:
    """Lower-case hex over exactly these bytes and the time behind them."""
    return hmac.new(secret.encode(), body + stamped.encode(), hashlib.sha256).hexdigest()


def header(secret: str, stamped: str, body: bytes) -> str:
    """The whole Authorization header."""
    return f"{SCHEME} Datetime={stamped}, Signature={sign(secret, stamped, body)}"


def read(text: str, scheme: str = SCHEME) -> Tsk | None:
    """The values of a header, None when it is none of this scheme or one of them is missing."""
    claim = parse(text)
    if claim is None or claim.scheme.upper() != scheme:
        return None
    given = Tsk(claim.get("Datetime"), claim.get("Signature"))
    return given if given.datetime and given.signature else None


def right(given: Tsk, secret: str, body: bytes) -> bool:
    """Whether the signature fits these bytes."""
    return same(given.signature, sign(secret, given.datetime, body))


def stamp(moment: datetime) -> str:
    """20170720T193559Z."""
    return moment.astimezone(UTC).strftime(_STAMP)


def moment_of(stamped: str) -> datetime | None:
    """The moment of a stamp, None for what is none."""
    if len(stamped) != _STAMP_CHARS or not stamped.isascii():
        return None
    try:
        return datetime.strptime(stamped, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
