"""Signatures as suppliers describe them: which texts, in which order, joined how, under which hash.

Source: the public descriptions of recharge interfaces.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, Literal, cast

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from shoudan_signing.authorization import same

BODY: Final = "@body"  # in `listed`: the body as it is sent
RSA_BITS_MIN: Final = 2048
KEYS_MAX: Final = 256  # held in memory, as the secrets are

Hash = Literal[
    "md5", "sha1", "sha256", "hmac-md5", "hmac-sha1", "hmac-sha256", "rsa-sha1", "rsa-sha256"
]
_RSA: Final[Mapping[str, Callable[[], hashes.HashAlgorithm]]] = {
    "rsa-sha1": hashes.SHA1,
    "rsa-sha256": hashes.SHA256,
}


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a message is signed; the signature stands in a field of the message, or in a header."""

    hash: Hash
    field: str = ""
    header: str = ""
    over: Literal["sorted", "listed"] = "sorted"
    listed: tuple[str, ...] = ()  # in this order; of a notify the same names
    names: bool = True  # name=value, else values alone
    joint: str = "&"
    with_empty: bool = False  # fields without a value are signed, too
    key: Literal["after", "before", "around"] = "after"  # of a plain hash: where the secret stands
    key_joint: str = ""  # between the text and the secret, such as "&key="
    case: Literal["lower", "upper"] = "lower"
    text: Literal["hex", "base64"] = "hex"
    public_key: str = ""  # PEM of who signs the notifies, of RSA

    @property
    def is_rsa(self) -> bool:
        """Whether the two sides have keys of their own."""
        return self.hash in _RSA


def signed_text(recipe: Recipe, values: Mapping[str, str]) -> str:
    """What is signed, the secret apart."""
    sorted_names = sorted(name for name in values if name not in {recipe.field, BODY})
    names = sorted_names if recipe.over == "sorted" else recipe.listed
    parts = [(name, values.get(name, "")) for name in names]
    if not recipe.with_empty and recipe.over == "sorted":
        parts = [(name, value) for name, value in parts if value]
    return recipe.joint.join(f"{name}={value}" if recipe.names else value for name, value in parts)


def sign(recipe: Recipe, values: Mapping[str, str], secret: bytes, charset: str) -> str:
    """The signature over these texts. ValueError for a secret that is no key of the recipe's kind."""
    signed = signed_text(recipe, values).encode(charset)
    if recipe.is_rsa:
        return base64.b64encode(_rsa_signed(recipe, signed, secret)).decode()
    return _written(recipe, _digest(recipe, signed, secret, charset))


def right(
    recipe: Recipe, values: Mapping[str, str], given: str, secret: bytes, charset: str
) -> bool:
    """Whether a signature fits, hex of either case; what cannot be checked does not fit."""
    try:
        signed = signed_text(recipe, values).encode(charset)
    except UnicodeEncodeError:
        return False
    if recipe.is_rsa:
        return _rsa_right(recipe, signed, given)
    if not secret:
        return False
    expected = _written(recipe, _digest(recipe, signed, secret, charset))
    return same(given.lower(), expected.lower()) if recipe.text == "hex" else same(given, expected)


def check_public_key(pem: str) -> None:
    """ValueError for what is no RSA public key long enough."""
    _public_key(pem)


def _digest(recipe: Recipe, signed: bytes, secret: bytes, charset: str) -> bytes:
    if recipe.hash.startswith("hmac-"):
        return hmac.digest(secret, signed, recipe.hash.removeprefix("hmac-"))
    joint = recipe.key_joint.encode(charset)
    before = secret + joint if recipe.key in {"before", "around"} else b""
    after = joint + secret if recipe.key in {"after", "around"} else b""
    return hashlib.new(recipe.hash, before + signed + after, usedforsecurity=False).digest()


def _written(recipe: Recipe, digest: bytes) -> str:
    if recipe.text == "base64":
        return base64.b64encode(digest).decode()
    return digest.hex().upper() if recipe.case == "upper" else digest.hex()


def _rsa_signed(recipe: Recipe, signed: bytes, secret: bytes) -> bytes:
    return _private_key(secret).sign(signed, PKCS1v15(), _RSA[recipe.hash]())


@lru_cache(maxsize=KEYS_MAX)
def _private_key(secret: bytes) -> RSAPrivateKey:
    """A key is proved when it is read, which takes as long as 20 signatures: it is read once."""
    key = serialization.load_pem_private_key(secret, None)
    if not isinstance(key, RSAPrivateKey) or key.key_size < RSA_BITS_MIN:
        raise ValueError(f"not an RSA private key of {RSA_BITS_MIN} bits or more")
    return key


@lru_cache(maxsize=KEYS_MAX)
def _public_key(pem: str) -> RSAPublicKey:
    key = cast("object", serialization.load_pem_public_key(pem.encode()))
    if not isinstance(key, RSAPublicKey) or key.key_size < RSA_BITS_MIN:
        raise ValueError(f"not an RSA public key of {RSA_BITS_MIN} bits or more")
    return key


def _rsa_right(recipe: Recipe, signed: bytes, given: str) -> bool:
    try:
        key = _public_key(recipe.public_key)
        made = base64.b64decode(given, validate=True)
    except (ValueError, binascii.Error):
        return False
    try:
        key.verify(made, signed, PKCS1v15(), _RSA[recipe.hash]())
    except InvalidSignature:
        return False
    return True
