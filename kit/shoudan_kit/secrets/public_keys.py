"""Encrypting to the public key of another: HPKE (RFC 9180), single-shot, base mode."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

SUITE: Final = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def encrypted(plain: bytes, public_key: bytes, info: bytes) -> bytes:
    """The 32 bytes of the encapsulated key, then the ciphertext. ValueError for what is no key."""
    return SUITE.encrypt(plain, X25519PublicKey.from_public_bytes(public_key), info)


def key_of(written: str) -> bytes:
    """The public key that stands in base64. ValueError for what is none, or one that keeps no secret."""
    try:
        key = base64.b64decode(written, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    # A point of small order gives one secret with every private key: that is refused here.
    X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(key))
    return key
