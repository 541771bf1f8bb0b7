"""Promises of calls that suppliers sign: their own secret lets them in, and nothing else does."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from shoudan_delivery.inbound import (
    CALL_WINDOW_S,
    Attempts,
    NotifyTokens,
    NotifyVerifier,
    SupplierCall,
)
from shoudan_delivery.refusals import NotifyUnverified, TooManyAttempts
from shoudan_kit.clock import SystemClock
from shoudan_signing import channel as signing

NOW = datetime(2026, 12, 1, 3, tzinfo=UTC)
PATH = "/vds/bill/trade"


class Channels:
    """Two channels: one with a secret and an older one, one without."""

    def __init__(self, **more: Any) -> None:
        given = {"secret": b"new", "older_secrets": (b"old",), "notify_networks": (), **more}
        bare = {**given, "secret": b"", "older_secrets": ()}
        self.known = {
            ("ycup", 10): SimpleNamespace(**given),
            ("bare", 10): SimpleNamespace(**bare),
        }

    def get(self, channel_no: str, service_class: int) -> Any:
        return self.known.get((channel_no, service_class))

    def note_used(self, credential_id: int) -> None:
        raise AssertionError("nothing is counted for a call")


def verifier(burst: int = 100, **more: Any) -> NotifyVerifier:
    attempts = Attempts(SystemClock(), 0.001, burst)
    return NotifyVerifier(Channels(**more), NotifyTokens([b"k" * 32]), attempts)


def call(secret: bytes = b"new", remote_ip: str = "10.1.2.3", **more: str) -> SupplierCall:
    params: Mapping[str, str] = {
        "channel_no": "ycup",
        "bill_date": "2026-11-29",
        "sign_type": signing.HMAC_SHA256_V2,
        "timestamp": str(int(NOW.timestamp())),
        "nonce": "0123456789abcdef",
        **more,
    }
    sign = signing.hmac_v2_sign("GET", PATH, params, b"", secret)
    return SupplierCall(params["channel_no"], "GET", PATH, {**params, "sign": sign}, b"", remote_ip)


@pytest.mark.parametrize("secret", [b"new", b"old"])
def test_a_supplier_is_let_in_by_its_secret_and_by_the_one_before(secret: bytes) -> None:
    verifier().check_call(call(secret), NOW)


def test_networks_of_the_channel_hold() -> None:
    verifier(notify_networks=("10.0.0.0/8",)).check_call(call(), NOW)
    with pytest.raises(NotifyUnverified):
        verifier(notify_networks=("192.168.0.0/16",)).check_call(call(), NOW)


LATE = str(int(NOW.timestamp()) - CALL_WINDOW_S - 1)


@pytest.mark.parametrize(
    "given",
    [
        call(b"other"),
        call(b"nobody"),
        call(b"nobody", channel_no="nobody"),
        call(b"", channel_no="bare"),
        call(b"nobody", channel_no="bare"),
        call(timestamp=LATE),
        call(timestamp="soon"),
        call(nonce="short"),
        call(sign_type="HMAC-SHA256"),
    ],
    ids=["secret", "stand-in", "unknown", "empty", "bare", "late", "time", "nonce", "scheme"],
)
def test_whatever_is_wrong_is_refused_alike(given: SupplierCall) -> None:
    with pytest.raises(NotifyUnverified):
        verifier().check_call(given, NOW)


def test_a_changed_parameter_is_another_call() -> None:
    good = call()
    changed = SupplierCall(
        "ycup", "GET", PATH, {**good.params, "bill_date": "2026-11-30"}, b"", good.remote_ip
    )
    with pytest.raises(NotifyUnverified):
        verifier().check_call(changed, NOW)


def test_guesses_from_one_address_are_bounded() -> None:
    checks = verifier(burst=2)
    for _ in range(2):
        with pytest.raises(NotifyUnverified):
            checks.check_call(call(b"guess"), NOW)
    with pytest.raises(TooManyAttempts):
        checks.check_call(call(b"guess"), NOW)
    checks.check_call(call(remote_ip="10.9.9.9"), NOW)
