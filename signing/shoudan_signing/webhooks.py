"""Standard Webhooks: how notifies to channels are signed. Source: standardwebhooks.com, specification 1.0."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from standardwebhooks.webhooks import Webhook

MARK: Final = "whsec_"
ID: Final = "webhook-id"
TIMESTAMP: Final = "webhook-timestamp"
SIGNATURE: Final = "webhook-signature"
TOLERANCE_S: Final = 300


class NotVerified(ValueError):
    """A notify that is not believed; the text says why, to who is to find the mistake."""


def signed(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a notify, one signature per key, so that keys can be exchanged. `body` is UTF-8."""
    text, moment = body.decode(), datetime.fromtimestamp(timestamp, UTC)
    made = [Webhook(key_of(secret)).sign(message_id, moment, text) for secret in secrets]
    return {ID: message_id, TIMESTAMP: str(timestamp), SIGNATURE: " ".join(made)}


def key_of(secret: str) -> bytes:
    """The bytes of a secret: base64 behind whsec_; one without it, or malformed, as it is written."""
    return _decoded(secret) or secret.encode()


def is_malformed(secret: str) -> bool:
    """Whether a secret begins as a marked one and is none."""
    return secret.startswith(MARK) and _decoded(secret) is None


def _decoded(secret: str) -> bytes | None:
    if not secret.startswith(MARK):
        return None
    try:
        return base64.b64decode(secret.removeprefix(MARK), validate=True)
    except binascii.Error:
        return None


def verify(
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    now: int,
    *,
    tolerance_s: int = TOLERANCE_S,
) -> None:
    """Believe a notify with these headers, or raise NotVerified. `body` is exactly what was received.

    Names of headers are read in either case; one signature that fits one of the secrets is enough.
    """
    given = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in (ID, TIMESTAMP, SIGNATURE) if not given.get(name)]
    if missing:
        raise NotVerified(f"without {', '.join(missing)}")
    stamp = given[TIMESTAMP]
    if not (stamp.isascii() and stamp.isdecimal()) or len(stamp) > 12:
        raise NotVerified(f"{TIMESTAMP} is no number of seconds")
    if abs(now - int(stamp)) > tolerance_s:
        raise NotVerified(f"{TIMESTAMP} is {now - int(stamp)} s off")
    try:
        wanted = signed(secrets, given[ID], int(stamp), body)[SIGNATURE].split()
    except (OverflowError, ValueError) as error:
        raise NotVerified(
            f"the body or {TIMESTAMP} cannot be signed: {type(error).__name__}"
        ) from None
    there = given[SIGNATURE].split()
    # All are compared, each in constant time: how long it takes must not show which fitted.
    fits = [hmac.compare_digest(a.encode(), b.encode()) for a in wanted for b in there]
    if not any(fits):
        raise NotVerified(f"{SIGNATURE} fits none of {len(secrets)} secrets")
