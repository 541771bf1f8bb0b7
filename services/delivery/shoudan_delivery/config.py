"""Settings of the delivery service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from shoudan_kit.config import Secret
from shoudan_kit.http.ssrf import ANY_PORT, PORTS, Guard, opened
from shoudan_kit.rpc.address import address
from shoudan_kit.secrets.sealing_settings import SealedAccountSettings

KEY_CHARS_MIN = 16
KEYS_MAX = 2
LOOPBACK = ("127.0.0.0/8", "::1/128")


class DeliverySettings(SealedAccountSettings):
    """Section [delivery]."""

    shardable: ClassVar[bool] = True
    masked: ClassVar[frozenset[str]] = frozenset({"rechage_account", "recharge_account"})

    order_target: str = address("order", 50051)
    public_url: str = Field(
        "http://127.0.0.1:8600",
        description="Where suppliers reach our gateway; the default notify URL of a channel is made of it.",
        examples=["https://pay.example.com"],
    )
    secrets_dir: str | None = Field(
        None,
        description="Folder of files, one per secret_name; SHOUDAN_SECRET_<NAME> comes first.",
        examples=["/run/secrets"],
    )
    notify_key: Secret = Field(
        Secret("demo-key-of-notify-tokens"),
        description="Key that makes the token in each notify URL, at least 16 characters. During a change"
        " two, separated by a space: the first makes tokens, both are believed.",
    )
    notify_refused_per_s: float = Field(
        1,
        gt=0,
        le=1000,
        description="Refused notifies a second one address may send on average; more are answered 429.",
    )
    notify_refused_burst: int = Field(
        20, ge=1, le=10_000, description="Refused notifies one address may send at once."
    )
    supplier_networks: list[str] = Field(
        default_factory=list[str],
        description="Private networks suppliers may be called in, each with its ports or on supplier_ports;"
        " outside of prod loopback is allowed, too.",
        examples=["10.1.0.0/16,192.168.7.0/24:8080"],
    )
    supplier_ports: list[int] = Field(
        default_factory=list[int],
        description="Ports suppliers may be called on; empty: 80 and 443 in prod, any elsewhere.",
        examples=["80,443,8443"],
    )
    connect_timeout_s: float = Field(
        3, gt=0, le=60, description="Seconds to connect to a supplier; failing here was never sent."
    )
    query_timeout_s: float = Field(
        5,
        gt=0,
        le=60,
        description="Seconds to wait for the answer to a query; asking again is safe.",
    )
    send_batch_max: int = Field(
        400, ge=1, le=1000, description="Deliveries marked as sending in one statement."
    )
    send_linger_s: float = Field(
        0.015,
        ge=0,
        le=1,
        description="Seconds a busy channel gathers freed places, so that it marks batches, not single rows.",
    )
    send_queue_max: int = Field(
        10_000,
        ge=1,
        le=100_000,
        description="Deliveries of one channel waiting in memory; more stay in the table.",
    )
    query_concurrency_max: int = Field(
        32,
        ge=1,
        le=1000,
        description="Queries in flight per channel, over all processes; they never take places of sends.",
    )
    replicas: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes of delivery that send, as long as NATS, where they share a supplier's places,"
        " has not been reached since the start.",
    )
    end_batch_max: int = Field(
        500, ge=1, le=1000, description="Answers written in one transaction."
    )
    end_linger_s: float = Field(
        0.025,
        ge=0,
        le=1,
        description="Seconds answers gather while several come at a time; none for a lone one.",
    )
    query_slow_s: int = Field(
        600,
        ge=1,
        le=86_400,
        description="Least seconds between queries once the owner has stopped waiting (flow_timeout).",
    )
    suppliers_refresh_s: float = Field(
        1.0,
        gt=0,
        le=60,
        description="Seconds between looks at the channels, so that an operator's switch acts everywhere.",
    )
    balance_every_s: float = Field(
        60,
        ge=1,
        le=3600,
        description="Seconds between looks at what a supplier whose template says how has left.",
    )
    price_every_s: float = Field(
        300,
        ge=10,
        le=86_400,
        description="Seconds between looks at the prices of a supplier whose template says how; after answers"
        " that cannot be read up to 32 times as long.",
    )
    stock_low_cards: int = Field(
        100,
        ge=0,
        le=100_000,
        description="Cards of one kind of goods of our own stock below which it is low and alerts.",
    )
    report_timeout_s: float = Field(
        8, gt=0, le=60, description="Seconds to wait for the order service to acknowledge results."
    )
    report_count_max: int = Field(
        15, ge=1, le=1000, description="Reports of a result before its task waits for a person."
    )
    breaker_window_s: int = Field(
        30, ge=1, le=600, description="Seconds of answers the breaker looks at."
    )
    breaker_calls_min: int = Field(
        20, ge=1, le=10_000, description="Calls in the window before the breaker may trip."
    )
    breaker_failures_ppm: int = Field(
        500_000,
        ge=1,
        le=1_000_000,
        description="Part of failed calls, in parts per million, that trips the breaker.",
    )
    breaker_pause_s: int = Field(
        15, ge=1, le=3600, description="Seconds a tripped channel rests before a few calls try it."
    )

    def cross_check(self) -> Iterator[str]:
        """One or two notify keys that cannot be guessed."""
        yield from super().cross_check()
        for network in self.supplier_networks:
            try:
                opened(network)
            except ValueError:
                yield f"supplier_networks: {network} is no network, for example 192.168.7.0/24:8080"
        keys = self.notify_keys()
        if not 1 <= len(keys) <= KEYS_MAX or any(len(one) < KEY_CHARS_MIN for one in keys):
            yield f"notify_key: one or two keys of at least {KEY_CHARS_MIN} characters"

    def notify_keys(self) -> tuple[bytes, ...]:
        """The keys of notify tokens, the one that makes them first."""
        return tuple(one.encode() for one in self.notify_key.reveal().split())

    def supplier_guard(self) -> Guard:
        """Which addresses suppliers may be called at."""
        inside = self.profile != "prod"
        ports = frozenset(self.supplier_ports) or (ANY_PORT if inside else PORTS)
        networks = [*self.supplier_networks, *(LOOPBACK if inside else ())]
        return Guard([opened(one, ports) for one in networks], ports)
