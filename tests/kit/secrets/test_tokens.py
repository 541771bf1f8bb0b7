"""Promises about operators' tokens: whose they are, what is refused and why, keys that change or are away."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shoudan_kit.rpc.caller import Caller
from shoudan_kit.rpc.refusal import refused_from_proto
from shoudan_kit.rpc.rights import ROLES
from shoudan_kit.secrets.tokens import (
    KEYS_MAX,
    LEEWAY_S,
    VALID_S,
    VALID_S_MAX,
    VERIFIED_MAX,
    KeyFetcher,
    TokenRefused,
    TokenSigner,
    TokenVerifier,
    kept_key,
    key_id,
    key_set,
    read_key_set,
)

SYSTEM = "sys-1"
KEY = Ed25519PrivateKey.generate()
SIGNER = TokenSigner(KEY, SYSTEM)


def verifier(system: str = SYSTEM) -> TokenVerifier:
    made = TokenVerifier(system)
    made.trust("test", read_key_set(key_set([KEY.public_key()])))
    return made


def claims(**other: Any) -> dict[str, Any]:
    now = int(time.time())
    right: dict[str, Any] = {
        "iss": SYSTEM,
        "aud": "shoudan",
        "sub": "7",
        "name": "li",
        "roles": ["ops"],
        "iat": now,
        "exp": now + 60,
        "jti": "a",
    }
    return {key: value for key, value in (right | other).items() if value is not None}


def signed(key: Any = KEY, algorithm: str = "EdDSA", kid: str | None = None, **other: Any) -> str:
    header = {"kid": kid or SIGNER.key_id}
    return jwt.encode(claims(**other), key, algorithm=algorithm, headers=header)


def why(token: str, by: TokenVerifier | None = None) -> str:
    with pytest.raises(TokenRefused) as refused:
        (by or verifier()).verify(token)
    return refused.value.why


def test_a_token_says_who_holds_it_and_with_which_roles() -> None:
    operator = verifier().verify(SIGNER.issue("7", "li", ["ops", "viewer"]))
    assert operator.caller == Caller("operator", "li", frozenset({"ops", "viewer"}), "7")
    assert operator.expires_s - time.time() == pytest.approx(VALID_S, abs=5)
    assert len(operator.token_id) == 32


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (lambda: signed(iss="sys-2"), "another system's"),
        (lambda: signed(aud="others"), "another audience's"),
        (lambda: signed(aud=["shoudan", "others"]), "another audience's"),
        (lambda: signed(exp=int(time.time()) - LEEWAY_S - 1), "expired"),
        (lambda: signed(iat=int(time.time()) + LEEWAY_S + 5), "not yet valid"),
        (lambda: signed(nbf=int(time.time()) + LEEWAY_S + 5), "not yet valid"),
        (lambda: signed(exp=int(time.time()) + VALID_S_MAX + 60), "valid for too long"),
        (lambda: signed(key=Ed25519PrivateKey.generate()), "signature"),
        (lambda: signed(kid="other"), "unknown key"),
        (lambda: signed(sub=None), "a claim is missing"),
        (lambda: signed(jti=None), "a claim is missing"),
        (lambda: signed(exp=None), "a claim is missing"),
        (lambda: signed(roles="admin"), "a claim is wrong"),
        (lambda: signed(roles=[1]), "a claim is wrong"),
        (lambda: signed(name=None), "a claim is wrong"),
        (lambda: signed(key="x" * 64, algorithm="HS256"), "no token"),
        (lambda: "", "no token"),
        (lambda: "a.b.c", "no token"),
        (lambda: "é" * 30, "no token"),
        (lambda: "a" * 5000, "no token"),
    ],
)
def test_each_token_that_is_not_right_is_refused_with_its_reason(
    token: Callable[[], str], expected: str
) -> None:
    assert why(token()) == expected


def test_a_token_without_a_signature_or_signed_with_the_public_key_is_refused() -> None:
    head, body, _ = signed().split(".")
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none", "kid": SIGNER.key_id}).encode())
    assert why(f"{none.rstrip(b'=').decode()}.{body}.") == "no token"
    public = KEY.public_key().public_bytes_raw()
    assert why(signed(key=public, algorithm="HS256")) == "no token"
    assert why(f"{head}.{body}.AAAA") == "signature"


def test_one_changed_claim_breaks_the_signature() -> None:
    head, _, signature = signed().split(".")
    forged = base64.urlsafe_b64encode(json.dumps(claims(roles=["admin"])).encode())
    assert why(f"{head}.{forged.rstrip(b'=').decode()}.{signature}") == "signature"


def test_clocks_may_differ_by_the_leeway_and_a_remembered_token_still_expires() -> None:
    by = verifier()
    with time_machine.travel(1_800_000_000, tick=False) as clock:
        token = SIGNER.issue("7", "li", ["ops"], valid_s=60)
        clock.shift(-LEEWAY_S)
        assert by.caller_of(token).id == "7"
        clock.shift(60 + 2 * LEEWAY_S - 1)
        assert by.caller_of(token).id == "7"
        clock.shift(1)
        assert why(token, by) == "expired"
        assert why(token, by) == "expired"


def test_a_system_without_an_id_believes_no_token() -> None:
    assert why(signed(iss=""), verifier("")) == "this system has no id"


def test_roles_that_do_not_exist_are_not_issued_and_not_believed() -> None:
    with pytest.raises(ValueError, match="no such role: owner"):
        SIGNER.issue("7", "li", ["owner"])
    assert verifier().caller_of(signed(roles=["owner", "viewer"])).roles == {"viewer"}
    assert verifier().caller_of(SIGNER.issue("7", "li", ROLES)).roles == set(ROLES)


@pytest.mark.parametrize("valid_s", [0, -1, VALID_S_MAX + 1])
def test_a_token_is_not_issued_for_too_long(valid_s: int) -> None:
    with pytest.raises(ValueError, match="good for"):
        SIGNER.issue("7", "li", ["ops"], valid_s)


def test_the_refusal_travels_with_its_reason() -> None:
    seen = refused_from_proto(TokenRefused("expired").to_proto())
    assert seen.reason == "ERROR_REASON_TOKEN_REFUSED"
    assert seen.metadata == {"why": "expired"}


def test_more_tokens_than_are_remembered_are_all_verified() -> None:
    by = verifier()
    for number in range(VERIFIED_MAX + 2):
        assert by.caller_of(SIGNER.issue(str(number), "li", [])).id == str(number)


# ---------------------------------------------------------------- keys
def test_a_private_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "operator.key"
    first = kept_key(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert key_id(kept_key(file).public_key()) == key_id(first.public_key())


def test_a_key_set_holds_the_public_keys_and_nothing_else() -> None:
    (one,) = json.loads(key_set([KEY.public_key()]))["keys"]
    assert set(one) == {"kty", "crv", "x", "kid", "use", "alg"}
    assert one["kid"] == SIGNER.key_id


@pytest.mark.parametrize(
    "document", [b"", b"{}", b"[]", b'{"keys":[]}', b'{"keys":"x"}', b"\xff", b" " * 70_000]
)
def test_what_is_no_key_set_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match=r"key set|JWK set"):
        read_key_set(document)


def test_keys_of_other_kinds_are_passed_over_and_their_number_is_bounded() -> None:
    document = json.loads(key_set([KEY.public_key()]))
    secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "shared", "alg": "HS256"}
    document["keys"] = [secret, *document["keys"] * (KEYS_MAX + 5)]
    assert set(read_key_set(json.dumps(document).encode())) == {SIGNER.key_id}


def test_a_key_set_file_that_changes_is_read_again_and_a_key_that_goes_is_not_trusted(
    tmp_path: Path,
) -> None:
    file, other = tmp_path / "keys.json", Ed25519PrivateKey.generate()
    by = TokenVerifier(SYSTEM, [file], looked_at_s=0)
    token = signed()
    assert why(token, by) == "unknown key"
    file.write_bytes(key_set([KEY.public_key()]))
    assert by.caller_of(token).id == "7"
    file.write_bytes(b"half a key s")
    assert by.caller_of(token).id == "7"
    file.write_bytes(key_set([other.public_key(), other.public_key()]))
    assert why(token, by) == "unknown key"
    file.write_bytes(key_set([KEY.public_key()]))
    assert by.caller_of(token).id == "7"
    file.unlink()
    assert why(token, by) == "unknown key"


class Publisher:
    """The service that publishes keys."""

    def __init__(self) -> None:
        self.document: bytes | None = key_set([KEY.public_key()])

    async def __call__(self) -> bytes:
        if self.document is None:
            raise OSError("away")
        return self.document


async def test_fetched_keys_stay_good_while_their_publisher_is_away(tmp_path: Path) -> None:
    publisher, by = Publisher(), TokenVerifier(SYSTEM)
    fetcher = KeyFetcher(by, "identity", publisher, tmp_path / "cache.json")
    assert await fetcher.fetch()
    token = signed()
    assert by.caller_of(token).id == "7"
    for bad in (None, b"<html>"):
        publisher.document = bad
        assert not await fetcher.fetch()
        assert by.caller_of(token).id == "7"
    later = TokenVerifier(SYSTEM)  # a process that starts meanwhile
    KeyFetcher(later, "identity", publisher, tmp_path / "cache.json")
    assert later.caller_of(token).id == "7"


async def test_a_key_that_its_publisher_withdraws_is_not_trusted_any_more() -> None:
    publisher, by = Publisher(), TokenVerifier(SYSTEM)
    fetcher = KeyFetcher(by, "identity", publisher)
    await fetcher.fetch()
    token = signed()
    assert by.caller_of(token).id == "7"
    other = Ed25519PrivateKey.generate()
    publisher.document = key_set([other.public_key()])
    await fetcher.fetch()
    assert why(token, by) == "unknown key"
    assert by.unknown_key.is_set()
    assert by.caller_of(signed(key=other, kid=key_id(other.public_key()))).id == "7"
