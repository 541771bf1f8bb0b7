"""TSK-HMAC, TSK-RSA2 and TVS: the vectors hold, and a changed byte, time or key does not."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

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
