"""The 虚拟货源 standard interface: the description's own example, and that every part is signed."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

import pytest

from shoudan_signing.goofish import CREDENTIAL, SCHEME, Parties, sign, signed_url

PARTIES = Parties(
    "677859093659717",
    "wK63PxlOBaY9NoqMksLeZySzGIW25ifA",
    "1001",
    "o9wl81dncmvby3ijpq7eur456zhgtaxs",
)
STAMP, BODY = "1724414553", b'{"goods_type":1,"goods_no":"12344532"}'
EXAMPLE = "fda5954f48ab32b3b271c84450440ead"  # 接入说明, 签名规则说明


def test_the_published_example_holds() -> None:
    assert sign(PARTIES, STAMP, BODY) == EXAMPLE


@pytest.mark.parametrize("part", ["app_id", "app_secret", "mch_id", "mch_secret"])
def test_another_party_signs_otherwise(part: str) -> None:
    assert sign(replace(PARTIES, **{part: "other"}), STAMP, BODY) != EXAMPLE


def test_another_time_or_body_is_signed_otherwise() -> None:
    assert sign(PARTIES, "1724414554", BODY) != EXAMPLE
    assert sign(PARTIES, STAMP, BODY.replace(b":", b": ")) != EXAMPLE


@pytest.mark.parametrize(
    "url", ["https://h/recv", "https://h/recv?token=a%20b", "https://h/recv#x"]
)
def test_what_proves_a_callback_stands_behind_its_address(url: str) -> None:
    made, plain = urlsplit(signed_url(url, PARTIES, STAMP, BODY)), urlsplit(url)
    assert (made.netloc, made.path, made.fragment) == (plain.netloc, plain.path, plain.fragment)
    added = {"mch_id": "1001", "timestamp": STAMP, "sign": EXAMPLE}
    assert dict(parse_qsl(made.query)) == dict(parse_qsl(plain.query)) | added


def test_secrets_are_not_shown() -> None:
    assert "wK63" not in repr(PARTIES)
    assert "o9wl" not in repr(PARTIES)


def test_an_address_without_a_fragment_gets_none() -> None:
    assert signed_url("https://h/recv", PARTIES, STAMP, BODY).endswith(f"sign={EXAMPLE}")


def test_channels_and_credentials_name_it_so() -> None:
    assert (SCHEME, CREDENTIAL) == ("goofish", "goofish")
