"""In prod no outer route takes a call from anybody: the gateway refuses it, or a named service does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from shoudan_gateway.admission import Admission
from shoudan_gateway.app import served
from shoudan_gateway.config import GatewaySettings
from shoudan_gateway.limits import CallerLimits
from shoudan_gateway.partners import load
from shoudan_gateway.protocol import ChannelRule, Endpoint, Inbound, Partner, Problem
from shoudan_kit.clock import SystemClock
from shoudan_kit.limits.shares import Shares

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/inbound.md").read_text()
PROD = GatewaySettings.model_validate({"profile": "prod"})
# Who refuses what the gateway hands on: a file of tests, and the test there.
SERVICES = {
    "payserver": ("pay/payserver/test_components.py", "test_only_the_component_may_notify"),
    "vds": ("delivery/test_notifies.py", "test_whatever_is_not_believed_looks_alike"),
    **dict.fromkeys(
        ("supplier_bills", "supplier_disputes"),
        ("delivery/test_supplier_calls.py", "test_whatever_is_wrong_is_refused_alike"),
    ),
    "wangdian": ("erp_ingest/test_signatures.py", "test_in_prod_a_sender_proves_itself"),
    "chinaums": ("pay/chinaums/test_refunds.py", "test_wrong_notifies_are_failed_and_move_nothing"),
    "dingdang": ("pay/dingdang/test_dingdang.py", "test_a_wrong_proof_is_fail_and_nothing_more"),
}
# What anyone may ask, and why: nothing that the asker could not have read elsewhere.
OPEN = {
    "/goofish/open/info": "the number that the platform itself gave our application",
    "/bill/file/{token}/{file}": "the link is the proof: tests/gateway/test_downloads.py",
}
OPEN_AT_GATEWAY = {"payNotify", "payInfo", "refundNotify", "refundInfo"}


PROOF = "mch_id=bare&timestamp=1&sign=" + "0" * 32


class Stored:
    """What the pay service stores for partners: read, and nothing is there."""

    known, age_s = True, 0.0

    def of(self, kind: str, owner: str) -> tuple[()]:
        return ()


class ChannelCache:
    """One channel without a scheme and without networks, the least an operator can configure."""

    def find(self, channel_no: str) -> ChannelRule | None:
        return ChannelRule("bare") if channel_no == "bare" else None

    def platform_secrets(self, app_id: str) -> tuple[str, ...]:
        return ("known",)


def routes() -> Iterator[Any]:
    outer, _ = served(load(), PROD)
    for partner in outer:
        for endpoint in partner.endpoints:
            yield pytest.param(partner, endpoint, id=f"{partner.name} {endpoint.path}")


def refused_by_gateway(partner: Partner, endpoint: Any) -> bool:
    """Whether an unsigned call from a public address ends in the gateway."""
    asked = [
        Inbound("POST", endpoint.path, params={"channel_no": failure}, remote="203.0.113.9")
        for failure in ("", "bare", "unknown")
    ]
    limits = CallerLimits(PROD, Shares("here", 5.0), SystemClock())
    channels: Any = ChannelCache()
    stored: Any = Stored()
    admission = Admission(channels, PROD, SystemClock(), limits)
    for inbound in asked:
        try:
            if partner.authenticate is not None:
                partner.authenticate(PROD, stored)(inbound, endpoint)
            elif partner.signed is not None:
                call = partner.signed(replace(inbound, query=PROOF))
                if call is not None:
                    admission.admit_signed(inbound, call)
            elif partner.role == "channel":
                admission.admit(inbound, once=True)
            return False
        except Problem:
            continue
    return True


@pytest.mark.parametrize(("partner", "endpoint"), list(routes()))
def test_no_route_takes_an_unauthenticated_call_in_prod(partner: Partner, endpoint: Any) -> None:
    assert isinstance(endpoint, Endpoint), "a sink answers anybody"
    if refused_by_gateway(partner, endpoint):
        return
    if endpoint.path in OPEN:
        assert f"`{endpoint.path}`" in PAGE
        return
    if partner.name == "payserver":
        assert endpoint.path.rpartition("/")[2] in OPEN_AT_GATEWAY
    file, test = SERVICES[partner.name]
    assert f"tests/{file}" in PAGE
    assert f"def {test}" in (ROOT / "tests" / file).read_text()
