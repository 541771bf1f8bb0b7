"""TVS-HMAC-SHA256-BASIC: as TSK, with the name of the key in the header.

Source: protocols §2, TencentDingdang tvs-tools.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shoudan_signing import tsk_hmac
from shoudan_signing.authorization import parse, same

SCHEME: Final = "TVS-HMAC-SHA256-BASIC"


@dataclass(frozen=True, slots=True)
class Tvs:
    """The values of the header."""

    credential_key: str
    datetime: str
    signature: str


def header(credential_key: str, access_token: str, stamped: str, body: bytes) -> str:
    """The whole Authorization header; the access token is the key."""
    made = tsk_hmac.sign(access_token, stamped, body)
    return f"{SCHEME} CredentialKey={credential_key}, Datetime={stamped}, Signature={made}"


def read(text: str) -> Tvs | None:
    """The values of a header, None when it is none of this scheme or one of them is missing."""
    claim = parse(text)
    if claim is None or claim.scheme.upper() != SCHEME:
        return None
    given = Tvs(claim.get("CredentialKey"), claim.get("Datetime"), claim.get("Signature"))
    return given if given.credential_key and given.datetime and given.signature else None


def right(given: Tvs, access_token: str, body: bytes) -> bool:
    """Whether the signature fits these bytes."""
    return same(given.signature, tsk_hmac.sign(access_token, given.datetime, body))
