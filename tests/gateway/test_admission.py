"""Who is let in: signatures both ways, replays, addresses, rates; nobody learns why in detail."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shoudan.order.v1 import catalogue_service_pb2 as catalogue
from shoudan_gateway.admission import remote_of
from shoudan_gateway.channel_cache import rule_of
from shoudan_signing import channel as signing

KEY = "0123456789abcdef0123456789abcdef"
QUERY = {"channel_no": "signed", "request_no": "nope"}


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOUDAN_SECRET_CHANNEL_SIGNED", f"{KEY}\nolder-key\n")


async def opened(open_gateway: Any, neighbours: Any, mode: str, **more: Any) -> Any:
    order, _, _ = neighbours
    front = await open_gateway(**more.pop("settings", {}))
    order.channels = [
        catalogue.DownChannel(
            channel_no="signed", enabled=True, auth_mode=mode, secret_name="channel-signed", **more
        )
    ]
    await front.read_rules()
    return front


def hmac_signed(nonce: str, key: str = KEY, method: str = "GET", **more: str) -> dict[str, str]:
    params = {
        **QUERY,
        "sign_type": "HMAC-SHA256",
        "timestamp": str(int(time.time())),
        "nonce": nonce,
        **more,
    }
    text = "&".join(f"{name}={params[name]}" for name in sorted(params))
    whole = f"{method}\n/order/query\n{text}\n{hashlib.sha256(b'').hexdigest()}"
    return params | {"sign": hmac.new(key.encode(), whole.encode(), "sha256").hexdigest()}


def md5_signed(key: str = KEY) -> dict[str, str]:
    raw = "".join(name + QUERY[name] for name in sorted(QUERY)) + key
    return QUERY | {"sign": hashlib.md5(raw.encode(), usedforsecurity=False).hexdigest().upper()}


async def status_of(front: Any, params: dict[str, str], method: str = "GET") -> int:
    status, _ = await front.ask("/order/query", method, params=params)
    return status


@pytest.mark.usefixtures("secret")
async def test_an_md5_signature_is_read_in_either_case_and_with_either_key(
    open_gateway, neighbours
) -> None:
    front = await opened(open_gateway, neighbours, "md5")
    assert await status_of(front, md5_signed()) == 404
    assert await status_of(front, md5_signed("older-key")) == 404
    assert await status_of(front, md5_signed("other")) == 403
    assert await status_of(front, QUERY) == 401
    assert await status_of(front, md5_signed() | {"request_no": "nope2"}) == 403


@pytest.mark.usefixtures("secret")
async def test_an_hmac_signature_covers_method_path_parameters_and_time(
    open_gateway, neighbours
) -> None:
    front = await opened(open_gateway, neighbours, "hmac")
    good = hmac_signed("n" * 16)
    assert await status_of(front, good) == 404
    assert await status_of(front, good, "POST") == 403
    assert await status_of(front, good | {"extra": "1"}) == 403
    assert await status_of(front, hmac_signed("n" * 16, key="wrong")) == 403
    assert await status_of(front, md5_signed()) == 406
    stale = hmac_signed("m" * 16, timestamp=str(int(time.time()) - 301))
    assert await status_of(front, stale) == 403
    assert await status_of(front, hmac_signed("short")) == 406


def v2_signed(nonce: str, key: str = KEY, **more: str) -> dict[str, str]:
    """Version 2, written out by hand from its description."""
    params = {
        **QUERY,
        "sign_type": "HMAC-SHA256-V2",
        "timestamp": str(int(time.time())),
        "nonce": nonce,
        **more,
    }
    shown = "&".join(f"{name}={quote(params[name], safe='')}" for name in sorted(params))
    digest = hashlib.sha256(b"").hexdigest()
    whole = f"HMAC-SHA256-V2\nGET\n/order/query\n{shown}\n{digest}"
    return params | {"sign": hmac.new(key.encode(), whole.encode(), "sha256").hexdigest()}


@pytest.mark.usefixtures("secret")
async def test_the_second_version_of_a_signature_cannot_be_read_in_two_ways(
    open_gateway, neighbours
) -> None:
    front = await opened(open_gateway, neighbours, "hmac2")
    split = {"x": "1&y=2"}
    assert await status_of(front, v2_signed("a" * 16, **split)) == 404
    moved = v2_signed("b" * 16, **split)
    assert await status_of(front, moved | {"x": "1", "y": "2"}) == 403
    assert await status_of(front, hmac_signed("c" * 16)) == 406
    assert await status_of(front, md5_signed()) == 406
    front = await opened(open_gateway, neighbours, "hmac")
    old = hmac_signed("d" * 16, **split)
    assert (
        await status_of(front, old | {"x": "1", "y": "2"}) == 404
    )  # why it is only for who has it
    assert await status_of(front, v2_signed("e" * 16)) == 404


@given(
    st.dictionaries(st.text(max_size=4), st.text(max_size=6), max_size=4),
    st.dictionaries(st.text(max_size=4), st.text(max_size=6), max_size=4),
)
@example({"x": "1&y=2"}, {"x": "1", "y": "2"})
@example({"a=b": "c"}, {"a": "b=c"})
@example({"a": "%26"}, {"a": "&"})
def test_two_sets_of_parameters_never_have_the_same_version_2_text(one, other) -> None:
    one.pop("sign", None)
    other.pop("sign", None)
    same = signing.hmac_v2_text("GET", "/", one, b"") == signing.hmac_v2_text(
        "GET", "/", other, b""
    )
    assert same == (one == other)


@pytest.mark.usefixtures("secret")
async def test_a_signed_write_is_taken_once(open_gateway, neighbours) -> None:
    front = await opened(open_gateway, neighbours, "hmac")
    params = {
        "channel_no": "signed",
        "request_no": "w1",
        "line_id": "1",
        "carrier_no": "ZSH",
        "invoice_type": "1",
        "num": "1",
        "face": "200",
        "amount": "198",
        "sign_type": "HMAC-SHA256",
        "timestamp": str(int(time.time())),
        "nonce": "w" * 16,
    }
    params["sign"] = signing.hmac_sign("GET", "/order/request", params, b"", KEY.encode())
    assert (await front.ask("/order/request", params=params))[0] == 200
    assert (await front.ask("/order/request", params=params))[0] == 403


@pytest.mark.usefixtures("secret")
async def test_a_signature_given_without_need_must_fit(open_gateway, neighbours) -> None:
    front = await opened(open_gateway, neighbours, "")
    assert await status_of(front, QUERY) == 404
    assert await status_of(front, md5_signed()) == 404
    assert await status_of(front, QUERY | {"sign": "0" * 32}) == 403


async def test_a_channel_whose_secret_is_nowhere_admits_nobody(open_gateway, neighbours) -> None:
    front = await opened(open_gateway, neighbours, "md5")
    assert await status_of(front, md5_signed("")) == 403


async def test_calls_from_elsewhere_are_refused(open_gateway, neighbours) -> None:
    front = await opened(open_gateway, neighbours, "", allowed_networks=["10.0.0.0/8"])
    assert await status_of(front, QUERY) == 403
    front = await opened(open_gateway, neighbours, "", allowed_networks=["127.0.0.0/8"])
    assert await status_of(front, QUERY) == 404


async def test_in_production_an_unsigned_channel_needs_its_networks(
    open_gateway, neighbours
) -> None:
    front = await opened(open_gateway, neighbours, "", settings={"profile": "prod"})
    assert await status_of(front, QUERY) == 403
    assert await status_of(front, {"channel_no": "nobody", "request_no": "1", "sign": "x"}) in {
        403,
        406,
    }


async def test_a_channel_beyond_its_rate_is_asked_to_wait(open_gateway, neighbours) -> None:
    settings = {"channel_rate_per_s": 0.001, "channel_burst": 2}
    front = await opened(open_gateway, neighbours, "", settings=settings)
    assert [await status_of(front, QUERY) for _ in range(3)] == [404, 404, 429]
    assert await status_of(front, {**QUERY, "channel_no": "other"}) == 404


def test_an_unreadable_network_admits_nobody() -> None:
    row = catalogue.DownChannel(channel_no="a", allowed_networks=["10.0.0.0/99"])
    assert rule_of(row, None).auth_mode == "unknown"


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("10.0.0.1", "", "10.0.0.1"),
        ("8.8.8.8", "1.1.1.1", "8.8.8.8"),
        ("10.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1"),
        ("10.0.0.1", "6.6.6.6, nonsense", "nonsense"),
    ],
)
def test_only_trusted_proxies_are_believed(peer: str, forwarded: str, expected: str) -> None:
    from ipaddress import ip_network

    assert remote_of(peer, forwarded, (ip_network("10.0.0.0/8"),)) == expected


def test_the_hmac_agrees_with_an_independent_implementation() -> None:
    """openssl dgst -sha256 -hmac key, over the text written out by hand."""
    text = b"GET\n/order/query\na=1&b=\xe4\xb8\xad\n" + hashlib.sha256(b"").hexdigest().encode()
    params = {"b": "中", "a": "1", "sign": "ignored"}
    assert signing.hmac_text("GET", "/order/query", params, b"") == text


def test_the_documented_vector_signs_as_the_gateway_does() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/http/signing.md").read_text("utf-8")
    text, sign = re.findall(r"```\n(HMAC-SHA256-V2.*?)\n```\n\nis signed `(\w+)`", page, re.DOTALL)[
        0
    ]
    key = "0123456789abcdef0123456789abcdef"
    assert hmac.new(key.encode(), text.encode(), "sha256").hexdigest() == sign
    method, path, shown = text.splitlines()[1:4]
    params = dict(parse_qsl(shown))
    assert signing.hmac_v2_sign(method, path, params, b"", key.encode()) == sign
