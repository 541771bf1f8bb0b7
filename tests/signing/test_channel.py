"""How a channel's calls are signed: what is signed, byte by byte, and signatures made by openssl."""

from __future__ import annotations

import pytest

from shoudan_signing.channel import (
    HMACS,
    NONCE_CHARS_MAX,
    NONCE_CHARS_MIN,
    SIGN_TYPE,
    TEXTS,
    fitting,
    hmac_sign,
    hmac_text,
    hmac_v2_sign,
    hmac_v2_text,
    md5_sign,
    md5_text,
)

# `sign` is never signed; names sort by their bytes.
PARAMS = {"b": "2", "a": "1&b=2", "sign": "x", "Z": "充"}
BODY = b'{"n":1}'
BODY_HASH = "2bfd14f43d17fc7cea24e0917a8879b4b2f880b8baeec1b9d90fbaad655e71bd"
KEY = b"secret"


def test_the_original_signs_names_and_values_joined_and_the_secret_behind() -> None:
    assert md5_text(PARAMS) == "Z充a1&b=2b2"
    assert md5_sign(PARAMS, KEY) == "d964e975382b2a09c562de08f6633322"


def test_ours_signs_method_path_parameters_and_the_hash_of_the_body_each_on_a_line() -> None:
    text = f"POST\n/order/add\nZ=充&a=1&b=2&b=2\n{BODY_HASH}"
    assert hmac_text("POST", "/order/add", PARAMS, BODY).decode() == text
    assert (
        hmac_sign("POST", "/order/add", PARAMS, BODY, KEY)
        == "7e1f46ec7dc1bea2482f7a850b10b696be69f784f699cb56bef21b5a19c04a8c"
    )


def test_version_2_names_itself_and_encodes_what_it_joins() -> None:
    path = "/order/add"
    text = f"HMAC-SHA256-V2\nPOST\n{path}\nZ=%E5%85%85&a=1%26b%3D2&b=2\n{BODY_HASH}"
    assert hmac_v2_text("POST", path, PARAMS, BODY).decode() == text
    assert (
        hmac_v2_sign("POST", path, PARAMS, BODY, KEY)
        == "e68ea7cbea59941552862e237a8342021d48703bc2124f82be82cb2e4080030f"
    )
    slash = hmac_v2_text("GET", "/", {"a/b?": "c/d ~?"}, b"").decode()
    assert "\na%2Fb%3F=c%2Fd%20~%3F\n" in slash


def test_which_version_is_which_is_known_by_its_documented_name() -> None:
    assert {"HMAC-SHA256": hmac_sign, "HMAC-SHA256-V2": hmac_v2_sign} == HMACS
    assert {"HMAC-SHA256": hmac_text, "HMAC-SHA256-V2": hmac_v2_text} == TEXTS


@pytest.mark.parametrize(
    ("given", "which"),
    [("aa", 0), (" BB\n", 1), ("cc", None), ("", None), ("a", None), ("ａａ", None)],
)
def test_a_signature_fits_one_of_the_keys_whatever_its_case(given: str, which: int | None) -> None:
    assert fitting(given, ["aa", "bb"]) == which
    assert fitting(given, []) is None


def test_names_and_bounds_are_the_documented_ones() -> None:
    assert (SIGN_TYPE, NONCE_CHARS_MIN, NONCE_CHARS_MAX) == ("sign_type", 16, 64)
