"""TSK-RSA2: SHA256withRSA over the body and a UTC time, for domains that moved to the later scheme.

Source: protocols §2.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from shoudan_signing import tsk_hmac
from shoudan_signing.tsk_hmac import Tsk

SCHEME: Final = "TSK-RSA2"
BITS_MIN: Final = 2048


def sign(private_pem: str, stamped: str, body: bytes) -> str:
    """Base64 over exactly these bytes and the time behind them. ValueError for another key."""
    key = serialization.load_pem_private_key(private_pem.encode(), None)
    if not isinstance(key, RSAPrivateKey) or key.key_size < BITS_MIN:
        raise ValueError(f"not an RSA private key of {BITS_MIN} bits or more")
    made = key.sign(body + stamped.encode(), PKCS1v15(), hashes.SHA256())
    return base64.b64encode(made).decode()


def header(private_pem: str, stamped: str, body: bytes) -> str:
    """The whole Authorization header."""
    return f"{SCHEME} Datetime={stamped}, Signature={sign(private_pem, stamped, body)}"


def read(text: str) -> Tsk | None:
    """The values of a header, None when it is none of this scheme or one of them is missing."""
    return tsk_hmac.read(text, SCHEME)


def right(given: Tsk, public_pem: str, body: bytes) -> bool:
    """Whether the signature fits these bytes; a key that is none of this kind fits nothing."""
    try:
        key = cast("object", serialization.load_pem_public_key(public_pem.encode()))
        made = base64.b64decode(given.signature, validate=True)
    except (ValueError, binascii.Error):
        return False
    if not isinstance(key, RSAPublicKey) or key.key_size < BITS_MIN:
        return False
    try:
        key.verify(made, body + given.datetime.encode(), PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True
