"""Signatures by recipe: the texts that suppliers describe, and what fits none of them."""

import base64
import hashlib

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from shoudan_signing.recipe import BODY, Recipe, check_public_key, right, sign, signed_text

VALUES = {"b": "2", "a": "一", "empty": "", "sign": "x"}
SECRET = b"key"


def made_of(**fields: str) -> Recipe:
    return msgspec.convert(fields, Recipe)


@pytest.mark.parametrize(
    ("recipe", "text"),
    [
        (Recipe("md5", field="sign"), "a=一&b=2"),
        (Recipe("md5", field="sign", with_empty=True), "a=一&b=2&empty="),
        (Recipe("md5", field="sign", names=False, joint=""), "一2"),
        (Recipe("md5", field="sign", over="listed", listed=("b", "none", "a")), "b=2&none=&a=一"),
        (
            Recipe("md5", header="X", over="listed", listed=("b", "a"), names=False, joint="|"),
            "2|一",
        ),
    ],
)
def test_the_text_that_is_signed(recipe: Recipe, text: str) -> None:
    assert signed_text(recipe, VALUES) == text


@pytest.mark.parametrize(
    ("key", "joint", "text"),
    [
        ("after", "", "a=一&b=2key"),
        ("after", "&key=", "a=一&b=2&key=key"),
        ("before", "", "keya=一&b=2"),
        ("around", "+", "key+a=一&b=2+key"),
    ],
)
def test_where_the_secret_stands(key: str, joint: str, text: str) -> None:
    recipe = made_of(hash="md5", field="sign", key=key, key_joint=joint, case="upper")
    for charset in ("utf-8", "gb18030"):
        expected = hashlib.md5(text.encode(charset), usedforsecurity=False).hexdigest().upper()
        assert sign(recipe, VALUES, SECRET, charset) == expected
        assert right(recipe, VALUES, expected.lower(), SECRET, charset)
        assert not right(recipe, VALUES, expected[:-1], SECRET, charset)
        assert not right(recipe, {**VALUES, "b": "3"}, expected, SECRET, charset)
        assert not right(recipe, VALUES, expected, b"", charset)


@pytest.mark.parametrize(
    "hashed", ["md5", "sha1", "sha256", "hmac-md5", "hmac-sha1", "hmac-sha256"]
)
@pytest.mark.parametrize("text", ["hex", "base64"])
def test_what_is_signed_is_right_and_nothing_else(hashed: str, text: str) -> None:
    recipe = made_of(hash=hashed, field="sign", text=text)
    made = sign(recipe, VALUES, SECRET, "utf-8")
    assert right(recipe, VALUES, made, SECRET, "utf-8")
    assert not right(recipe, VALUES, made, b"other", "utf-8")
    assert not right(recipe, VALUES, "", SECRET, "utf-8")


def pems(key: rsa.RSAPrivateKey) -> tuple[bytes, str]:
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private, public.decode()


def pair(bits: int) -> tuple[bytes, str]:
    return pems(rsa.generate_private_key(65537, bits))


def test_rsa_has_two_keys() -> None:
    private, public = pems(rsa.generate_private_key(65537, 2048))
    _, other = pems(rsa.generate_private_key(65537, 2048))
    for hashed in ("rsa-sha1", "rsa-sha256"):
        ours = made_of(hash=hashed, field="sign", public_key=public)
        made = sign(ours, VALUES, private, "utf-8")
        assert right(ours, VALUES, made, b"", "utf-8")
        assert not right(ours, VALUES, made[:-4], b"", "utf-8")
        assert not right(ours, VALUES, base64.b64encode(b"x" * 256).decode(), b"", "utf-8")
        theirs = made_of(hash=hashed, field="sign", public_key=other)
        assert not right(theirs, VALUES, made, b"", "utf-8")
    with pytest.raises(ValueError, match=r"PEM|key"):
        sign(Recipe("rsa-sha256", field="sign"), VALUES, b"no key", "utf-8")


def test_a_public_key_that_is_none_is_refused_and_fits_nothing() -> None:
    curve = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    for bad in ("", "no key", curve.decode()):
        recipe = Recipe("rsa-sha256", field="sign", public_key=bad)
        assert not right(recipe, VALUES, base64.b64encode(b"x" * 256).decode(), b"", "utf-8")
        with pytest.raises(ValueError, match=r"PEM|RSA|key"):
            check_public_key(bad)


def test_what_anybody_can_sign_without_a_secret_is_wrong() -> None:
    for hashed in ("md5", "hmac-sha256"):
        recipe = made_of(hash=hashed, field="sign")
        made = sign(recipe, VALUES, b"", "utf-8")
        assert not right(recipe, VALUES, made, b"", "utf-8")


def test_base64_is_as_it_is_written_and_hex_of_either_case() -> None:
    digest = hashlib.md5("a=一&b=2key".encode(), usedforsecurity=False).digest()
    plain, base = (made_of(hash="md5", field="sign", text=text) for text in ("hex", "base64"))
    assert sign(plain, VALUES, SECRET, "utf-8") == digest.hex()
    written = base64.b64encode(digest).decode()
    assert sign(base, VALUES, SECRET, "utf-8") == written
    assert not right(base, VALUES, written.lower(), SECRET, "utf-8")


def test_the_body_itself_is_no_field_of_it() -> None:
    values = {**VALUES, BODY: "whole"}
    assert signed_text(Recipe("md5", field="sign"), values) == "a=一&b=2"
    listed = Recipe("md5", over="listed", listed=(BODY,), names=False)
    assert signed_text(listed, values) == "whole"


def test_a_text_the_charset_has_no_sign_for_fits_nothing() -> None:
    recipe = Recipe("md5", field="sign")
    assert not right(recipe, {"a": "\U0001f600"}, "00", SECRET, "gb2312")


def test_private_keys_that_are_short_or_of_another_kind_sign_nothing() -> None:
    short, _ = pair(1024)
    curve = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for secret in (short, curve):
        with pytest.raises(ValueError, match="RSA private key of 2048"):
            sign(Recipe("rsa-sha256", field="sign"), VALUES, secret, "utf-8")


def test_short_public_keys_are_refused() -> None:
    _, short = pair(1024)
    with pytest.raises(ValueError, match="2048"):
        check_public_key(short)


def test_what_a_recipe_says_when_it_says_nothing() -> None:
    plain = Recipe("md5")
    assert (plain.field, plain.header, plain.case, plain.public_key) == ("", "", "lower", "")
    assert BODY == "@body"


def test_keys_without_a_size_sign_nothing_and_fit_nothing() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with pytest.raises(ValueError, match="RSA"):
        sign(Recipe("rsa-sha256", field="sign"), VALUES, secret, "utf-8")
    with pytest.raises(ValueError, match="RSA"):
        check_public_key(public.decode())


def test_an_rsa_signature_with_anything_between_is_wrong() -> None:
    private, public = pair(2048)
    recipe = Recipe("rsa-sha256", field="sign", public_key=public)
    made = sign(recipe, VALUES, private, "utf-8")
    assert right(recipe, VALUES, made, b"", "utf-8")
    assert not right(recipe, VALUES, f"{made[:8]}\n{made[8:]}", b"", "utf-8")
