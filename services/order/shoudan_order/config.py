"""The settings of the order service: typed, with unit, default and why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from shoudan_kit.config import Seconds
from shoudan_kit.proposals.settings import TwoPersonsSettings
from shoudan_kit.rpc.address import address
from shoudan_kit.secrets.sealing_settings import SealedAccountSettings

# WeChat Pay's published schedule; the document's maximum of ten attempts uses its first ten waits.
NOTIFY_WAITS_S = [15, 15, 30, 180, 600, 1200, 1800, 1800, 1800, 3600]


class OrderSettings(SealedAccountSettings, TwoPersonsSettings):
    """Settings of `shoudan serve order`."""

    shardable: ClassVar[bool] = True
    masked: ClassVar[frozenset[str]] = frozenset({"rechage_account", "recharge_account"})

    price_alone_max_ppm: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Millionths by which one admin alone may change prices of products in a day of Beijing, "
        "the largest change of each call added up; 0: no price. A new product always needs two.",
    )
    request_log_keep_days: int = Field(
        28,
        ge=1,
        le=366,
        description="Days what partners called is kept (`shoudan request ls`, `/request/list`).",
    )
    secrets_dir: Path | None = Field(
        None,
        description="Folder of files, one per secret_name; SHOUDAN_SECRET_<NAME> comes first.",
        examples=["/run/secrets"],
    )
    sandbox_url: str = Field(
        "",
        description="Where a test system's sandbox is, which plays suppliers and inboxes; empty: there "
        "is none. Refused in prod.",
        examples=["http://127.0.0.1:8690"],
    )
    pay_target: str = address("pay", 50052)
    delivery_target: str = address("delivery", 50053)
    ledger_ident: str = Field(
        "oms",
        description="System the channels' ledger accounts belong to (000 §二.3: ident).",
    )
    pay_call_s: Seconds = Field(
        3, description="Seconds a call to pay may take; below the 8 s an order may take."
    )
    delivery_call_s: Seconds = Field(
        5, description="Seconds a call to delivery may take; below the 8 s an order may take."
    )
    call_again_s: Seconds = Field(
        2, description="Seconds until a step is tried again after pay or delivery did not answer."
    )
    pay_short_again_s: Seconds = Field(
        30,
        description="Seconds until an order whose channel has too little balance is paid again.",
    )
    exclude_failed_s: Seconds = Field(
        60,
        description="Seconds a supplier gets nothing more of an order after it failed one of its deliveries.",
    )
    supplier_cost_max_ppm: int = Field(
        1_010_000,
        ge=0,
        le=10_000_000,
        description="Highest cost a supplier may state, in parts per million of the agreed cost; above it"
        " the agreed cost is booked and a person is asked. 1 % by default: prices are agreed in advance.",
    )
    partial_auto: bool = Field(
        True,
        description="Close a partly delivered order at overtime by itself (91) instead of by an audit.",
    )
    notify_waits_s: list[int] = Field(
        NOTIFY_WAITS_S,
        min_length=1,
        max_length=50,
        description="Seconds before the 2nd, 3rd … attempt of a notify; the last one repeats.",
    )
    notify_count_max: int = Field(
        10, ge=1, le=100, description="Attempts of one notify until it is listed as dead (000: 10)."
    )
    notify_timeout_s: Seconds = Field(
        10, description="Seconds one notify may take, connecting included."
    )
    notify_host_calls_max: int = Field(
        32,
        ge=1,
        le=500,
        description="Notifies in flight of one channel to one host, in all processes: it delays itself.",
    )
    notify_channel_calls_max: int = Field(
        128,
        ge=1,
        le=1_000,
        description="Notifies in flight of one channel to all its hosts, in all processes.",
    )
    notify_host_off_s: Seconds = Field(
        86_400,
        description="Seconds without an answer until a host is off and its notifies are skipped.",
    )
    endpoint_fails_max: int = Field(
        20,
        ge=2,
        le=1_000,
        description="Failures in a row until an endpoint of a channel is switched off;"
        " alerted at 50, 70, 90 and 100 % of them.",
    )
    endpoint_dead_s: Seconds = Field(
        86_400, description="Seconds since the first of them before it is."
    )
    goofish_app_id: str = Field(
        "",
        pattern="^([1-9][0-9]{0,17})?$",
        description="Our application at the platform of the 虚拟货源 interface; empty: none of it is served.",
        examples=["677859093659717"],
    )
    catalogue_poll_s: Seconds = Field(
        1, description="Seconds between looks at the catalogue's version made by other processes."
    )
    archive: str = Field(
        "",
        description="Where `shoudan db archive-ended` puts orders, to show them: a folder, or an address that"
        " fsspec knows. Empty: archived orders are known and not shown.",
    )
    orders_in_memory_max: int = Field(
        20_000,
        ge=0,
        le=1_000_000,
        description="Orders under way kept in memory, so that their steps need not read them again.",
    )

    def cross_check(self) -> Iterator[str]:
        """A host's bound is not above its channel's; nothing is played in prod."""
        yield from super().cross_check()
        if self.notify_host_calls_max > self.notify_channel_calls_max:
            yield "notify_host_calls_max is above notify_channel_calls_max"
        if self.sandbox_url and self.profile == "prod":
            yield "sandbox_url: nothing is played in prod; leave it empty"
