"""Whether a notify is ours: Standard Webhooks, for receivers in Python 3."""

import base64
import binascii
import hashlib
import hmac
import sys
import time

OFF_S_MAX = 300


def verify(secrets: list[str], headers: dict[str, str], body: bytes, now: float | None = None) -> bool:
    """`headers` by their names in lower case; `body`: the bytes as they came; several secrets while exchanged."""
    ident, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (stamp.isascii() and stamp.isdigit()):
        return False
    if abs((time.time() if now is None else now) - int(stamp)) > OFF_S_MAX:
        return False
    text = f"{ident}.{stamp}.".encode() + body
    given = [one[3:] for one in headers.get("webhook-signature", "").split() if one.startswith("v1,")]
    right = False
    for secret in secrets:
        made = base64.b64encode(hmac.new(_key(secret), text, hashlib.sha256).digest())
        for one in given:  # all are compared: how long it takes must show nothing
            right |= hmac.compare_digest(one.encode(), made)
    return right


def _key(secret: str) -> bytes:
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret[6:], validate=True)
        except binascii.Error:
            pass
    return secret.encode()


# Lines of secrets (separated by spaces), id, timestamp, signature, body in hex, and the time now.
if __name__ == "__main__":
    for line in sys.stdin:
        secret, ident, stamp, signature, body, now = line.rstrip("\n").split("\t")
        names = ("webhook-id", "webhook-timestamp", "webhook-signature")
        found: dict[str, str] = dict(zip(names, (ident, stamp, signature), strict=True))
        print("yes" if verify(secret.split(), found, bytes.fromhex(body), int(now)) else "no")
