"""TSK-HMAC, TSK-RSA2 and TVS: the vectors hold, and a changed byte, time or key does not."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from shoudan_signing import tsk_hmac, tsk_rsa2, tvs_hmac
from tests.conformance import body_of, cases, header_of

SECRET = "app_secret_test_0123456789"
STAMP = "20170720T193559Z"
DINGDANG = sorted(cases("004"))


def test_the_signature_of_an_empty_body_is_the_noted_one() -> None:
    signature = "f6ad964c6c638f2cb241805372ca2cf4428b7da458ec31419dd67a3f06ab0546"
    assert tsk_hmac.sign(SECRET, STAMP, b"") == signature


@pytest.mark.parametrize("name", DINGDANG)
def test_every_example_carries_the_right_signature(name: str) -> None:
    given = tsk_hmac.read(header_of(name))
    assert given is not None
    body = body_of(name)
    assert tsk_hmac.header(SECRET, STAMP, body) == header_of(name)
    assert tsk_hmac.right(given, SECRET, body)
    assert not tsk_hmac.right(given, SECRET, body + b" ")
    assert not tsk_hmac.right(given, SECRET + "0", body)


def test_the_body_with_chinese_characters_has_the_noted_signature() -> None:
    signature = "71b12d676c5a8db666624c675af0310e11cbf9cda1ba5bef11b9eb7d708b6cad"
    assert tsk_hmac.sign(SECRET, STAMP, body_of("004-refund")) == signature


def test_another_time_does_not_fit() -> None:
    given = tsk_hmac.read(header_of("004-refund").replace("193559Z", "193600Z"))
    assert given is not None
    assert not tsk_hmac.right(given, SECRET, body_of("004-refund"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "TSK-HMAC-SHA256-BASIC",
        f"TSK-HMAC-SHA256-BASIC Datetime={STAMP}",
        f"TVS-HMAC-SHA256-BASIC Datetime={STAMP}, Signature=00",
        f"TSK-HMAC-SHA256-BASIC Datetime={STAMP}, Signature=00, Signature=11",
    ],
)
def test_a_malformed_header_is_no_claim(text: str) -> None:
    assert tsk_hmac.read(text) is None


def test_stamps_are_utc() -> None:
    moment = datetime(2017, 7, 20, 19, 35, 59, tzinfo=UTC)
    assert tsk_hmac.stamp(moment) == STAMP
    assert tsk_hmac.moment_of(STAMP) == moment
    assert tsk_hmac.moment_of("20170720T193559") is None
    assert tsk_hmac.moment_of("20171320T193559Z") is None


def test_tvs_uses_the_published_hash() -> None:
    published = "97d9a01ea1e5e76753128e2f5696fc8b59aff75c25ba243703e6992b00699daf"
    made = hmac.new(b"AccessToken", b"This is signing-content", hashlib.sha256).hexdigest()
    assert made == published
    # The content is body and time joined, so any split of it signs alike.
    assert tsk_hmac.sign("AccessToken", "content", b"This is signing-") == published


def test_a_tvs_header_names_its_key() -> None:
    given = tvs_hmac.read(tvs_hmac.header("app", "token", STAMP, b"{}"))
    assert given is not None
    assert given.credential_key == "app"
    assert tvs_hmac.right(given, "token", b"{}")
    assert not tvs_hmac.right(given, "token", b"{} ")
    assert tvs_hmac.read(header_of("004-refund")) is None


def _pair(bits: int) -> tuple[str, str]:
    key = rsa.generate_private_key(65_537, bits)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


def test_tsk_rsa2_is_verified_with_the_public_key_alone() -> None:
    private, public = _pair(2048)
    given = tsk_rsa2.read(tsk_rsa2.header(private, STAMP, b"{}"))
    assert given is not None
    assert tsk_rsa2.right(given, public, b"{}")
    assert not tsk_rsa2.right(given, public, b"{} ")
    assert not tsk_rsa2.right(given, "no key", b"{}")
    other = tsk_rsa2.Tsk(given.datetime, given.signature[:-4] + "!!==")
    assert not tsk_rsa2.right(other, public, b"{}")


def test_short_rsa_keys_are_refused() -> None:
    private, public = _pair(1024)
    with pytest.raises(ValueError, match="2048"):
        tsk_rsa2.sign(private, STAMP, b"")
    assert not tsk_rsa2.right(tsk_rsa2.Tsk(STAMP, "AAAA"), public, b"")


@pytest.mark.parametrize("missing", ["CredentialKey", "Datetime", "Signature"])
def test_each_value_of_a_tvs_header_is_needed(missing: str) -> None:
    values = {"CredentialKey": "k", "Datetime": STAMP, "Signature": "00"}
    text = ", ".join(f"{name}={value}" for name, value in values.items() if name != missing)
    assert tvs_hmac.read(f"TVS-HMAC-SHA256-BASIC {text}") is None
    assert tvs_hmac.read("") is None


@pytest.mark.parametrize("missing", ["Datetime", "Signature"])
def test_each_value_of_a_tsk_header_is_needed(missing: str) -> None:
    values = {"Datetime": STAMP, "Signature": "00"}
    text = ", ".join(f"{name}={value}" for name, value in values.items() if name != missing)
    for scheme, read in (("TSK-HMAC-SHA256-BASIC", tsk_hmac.read), ("TSK-RSA2", tsk_rsa2.read)):
        assert read(f"{scheme} {text}") is None


def test_headers_are_written_as_documented() -> None:
    made = tsk_hmac.sign("token", STAMP, b"{}")
    assert tsk_hmac.header("token", STAMP, b"{}") == (
        f"TSK-HMAC-SHA256-BASIC Datetime={STAMP}, Signature={made}"
    )
    assert tvs_hmac.header("app", "token", STAMP, b"{}") == (
        f"TVS-HMAC-SHA256-BASIC CredentialKey=app, Datetime={STAMP}, Signature={made}"
    )


def test_a_stamp_that_is_not_ascii_is_none() -> None:
    assert tsk_hmac.moment_of("２0170720T193559Z") is None


def test_tsk_rsa2_takes_rsa_keys_alone_and_signs_the_time_too() -> None:
    private, public = _pair(2048)
    made = tsk_rsa2.sign(private, STAMP, b"{}")
    assert not tsk_rsa2.right(tsk_rsa2.Tsk("20170720T193558Z", made), public, b"{}")
    curve = ec.generate_private_key(ec.SECP256R1())
    pem = curve.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with pytest.raises(ValueError, match="2048"):
        tsk_rsa2.sign(pem.decode(), STAMP, b"{}")
    other = curve.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert not tsk_rsa2.right(tsk_rsa2.Tsk(STAMP, made), other.decode(), b"{}")


def test_a_short_public_key_fits_nothing_that_it_signed() -> None:
    private, public = _pair(1024)
    key = serialization.load_pem_private_key(private.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    made = base64.b64encode(key.sign(b"{}" + STAMP.encode(), PKCS1v15(), hashes.SHA256())).decode()
    assert not tsk_rsa2.right(tsk_rsa2.Tsk(STAMP, made), public, b"{}")


def test_a_scheme_is_read_as_itself_alone() -> None:
    values = f"CredentialKey=k, Datetime={STAMP}, Signature=00"
    assert tvs_hmac.read(f"TVS-HMAC-SHA256-BASIC {values}") is not None
    assert tvs_hmac.read(f"TSK-HMAC-SHA256-BASIC {values}") is None
    assert tsk_rsa2.read(f"TSK-RSA2 {values}") == tsk_rsa2.Tsk(STAMP, "00")


def test_a_stamp_with_a_digit_missing_is_none() -> None:
    assert tsk_hmac.moment_of("2017720T193559Z") is None


def test_tsk_rsa2_refuses_keys_without_a_size_and_signatures_with_anything_between() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with pytest.raises(ValueError, match="RSA"):
        tsk_rsa2.sign(secret.decode(), STAMP, b"{}")
    other = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    private, public = _pair(2048)
    made = tsk_rsa2.sign(private, STAMP, b"{}")
    assert not tsk_rsa2.right(tsk_rsa2.Tsk(STAMP, made), other.decode(), b"{}")
    torn = tsk_rsa2.Tsk(STAMP, f"{made[:8]}\n{made[8:]}")
    assert not tsk_rsa2.right(torn, public, b"{}")
