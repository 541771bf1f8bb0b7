"""Notifies as they arrive: verified by Standard Webhooks, then read."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

TOLERANCE_S: Final = 300
_MARK: Final = "whsec_"


class NotVerified(ValueError):
    """A notify that is not to be believed; the text says why."""


def verify_notify(
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: int | None = None,
) -> dict[str, Any]:
    """The members of a notify. `body` is exactly what was received; raises NotVerified.

    Answer `success` once you have stored it. The same notify may come again: `webhook-id` is the same.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, stamp = given["webhook-id"], int(given["webhook-timestamp"])
        signatures = given["webhook-signature"].split()
    except (KeyError, ValueError):
        raise NotVerified("webhook-id, -timestamp or -signature is missing") from None
    if abs((int(time.time()) if now is None else now) - stamp) > TOLERANCE_S:
        raise NotVerified("webhook-timestamp is too far off")
    content = f"{message_id}.{stamp}.".encode() + body
    macs = [hmac.digest(_key(one), content, hashlib.sha256) for one in secrets]
    wanted = [f"v1,{base64.b64encode(mac).decode()}".encode() for mac in macs]
    # All are compared: how long it takes must not show which fitted.
    fits = [hmac.compare_digest(a, b.encode()) for a in wanted for b in signatures]
    if not any(fits):
        raise NotVerified("webhook-signature fits no secret")
    try:
        members = json.loads(body)
    except ValueError:
        raise NotVerified("the body is no JSON") from None
    if not isinstance(members, dict):
        raise NotVerified("the body is no object")
    return cast("dict[str, Any]", members)


def _key(secret: str) -> bytes:
    if secret.startswith(_MARK):
        try:
            return base64.b64decode(secret.removeprefix(_MARK), validate=True)
        except binascii.Error:
            pass
    return secret.encode()
