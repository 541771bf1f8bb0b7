"""Settings of the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from shoudan_kit.config import Port, ProcessSettings, Seconds
from shoudan_kit.rpc.address import address
from shoudan_kit.tls.hops import is_loopback

Backend = Literal["order", "pay", "delivery", "erp_ingest"]
BACKENDS: tuple[Backend, ...] = ("order", "pay", "delivery", "erp_ingest")
AccessLog = Literal["off", "errors", "writes", "all"]


class GatewaySettings(ProcessSettings):
    """What the gateway needs beyond every process."""

    masked: ClassVar[frozenset[str]] = frozenset(
        {
            "bankCardNo",
            "bank_card_no",
            "buyer_account",
            "buyer_message",
            "buyer_name",
            "buyer_nick",
            "customer_name",
            "payBarCode",
            "pay_account",
            "pay_bar_code",
            "receiver_address",
            "receiver_mobile",
            "receiver_name",
            "receiver_phone",
            "receiver_zip",
            "rechage_account",
            "recharge_account",
            "return_address",
            "return_mobile",
            "return_name",
            "return_phone",
            "swap_address",
            "swap_mobile",
            "swap_name",
            "swap_phone",
        }
    )

    listen_hosts: ClassVar[tuple[str, ...]] = ("listen_host", "internal_host")
    tls_hosts: ClassVar[tuple[str, ...]] = ()  # HTTP: TLS ends at the proxy in front

    listen_port: Port = Field(
        8600, description="Port of the partners' listener; 0 takes any free one.", examples=[8600]
    )
    internal_host: str = Field(
        "127.0.0.1",
        description="Address of the internal listener (ledger); without internal_tls loopback alone in prod.",
    )
    internal_tls: bool = Field(
        False,
        description="Whether the internal listener speaks TLS 1.3 with tls_cert; clients show a token, no "
        "certificate.",
    )
    internal_port: Port = Field(
        8601, description="Port of the internal listener; 0 takes any free one.", examples=[8601]
    )
    lame_duck_s: float = Field(
        0,
        ge=0,
        le=30,
        description="Seconds of drain_s in which it still takes requests after SIGTERM while /readyz says "
        "503: longer than the proxy in front needs to see it. 0 without a proxy, or where the "
        "address is taken away before SIGTERM.",
        examples=[5],
    )
    ledger_ident: str = Field(
        "oms",
        description="System the channels' ledger accounts belong to; a channel's signature reads its own.",
    )
    order_target: str = address("order", 50051)
    pay_target: str = address("pay", 50052)
    delivery_target: str = address("delivery", 50053)
    erp_ingest_target: str = address("erp_ingest", 50054)
    finance_target: str = address("finance", 50056)
    ready_backends: list[Backend] = Field(
        ["order"],
        description="Services without which /readyz says no (so it does without any). Orders go on while "
        "pay or delivery are away; a gateway for PayServer alone names pay.",
        examples=[["order", "pay"]],
    )
    deadline_s: Seconds = Field(
        10, description="Seconds a request may take in all; the outermost of the deadlines."
    )
    rpc_deadline_s: Seconds = Field(
        8,
        description="Seconds a call to a service may take; below deadline_s, so that it can be answered.",
    )
    body_wait_s: Seconds = Field(
        5, description="Seconds a body may take to arrive; below deadline_s, which counts it."
    )
    unread_bodies_max: int = Field(
        1_000,
        ge=1,
        description="Bodies arriving at once; beyond, the sender of the most loses its oldest (408).",
    )
    unread_bodies_per_address_max: int = Field(
        100, ge=1, description="Bodies arriving at once from one address; more are answered 429."
    )
    connections_max: int = Field(
        8_000, ge=1, description="Connections of one listener; more are closed at once."
    )
    connections_per_address_max: int = Field(
        1_000,
        ge=1,
        description="Connections of one address, trusted proxies excepted; more are closed at once.",
    )
    head_wait_s: Seconds = Field(
        10, description="Seconds a request line with its headers may take to arrive (slow senders)."
    )
    idle_s: Seconds = Field(60, description="Seconds an unused connection is kept open.")
    backlog: int = Field(512, ge=1, le=65_535, description="Connections the system queues for us.")
    requests_in_flight_max: int = Field(
        2_000,
        ge=2,
        description="Admitted requests waiting for services at once; more are answered 503 at once.",
    )
    caller_in_flight_max: int = Field(
        1_000,
        ge=1,
        description="Of them those of one channel, merchant or else address at all gateways together, and "
        "always below all of this one; more are answered 429 at once.",
    )
    batch_size_max: int = Field(
        200,
        ge=1,
        le=1000,
        description="Requests gathered into one call; services take at most 1000.",
    )
    batch_linger_s: float = Field(
        0.002,
        ge=0,
        le=0.1,
        description="Seconds a gathered call waits for company while another is in flight.",
    )
    batches_in_flight_max: int = Field(
        2,
        ge=1,
        le=64,
        description="Gathered calls of one kind in flight at once. More make each smaller, and an order "
        "dearer; with several replicas of a service that answers from afar, one for each.",
    )
    batch_waiting_max: int = Field(
        2_000,
        ge=1,
        description="Requests of one kind waiting to be gathered; more are answered 503.",
    )
    catalogue_refresh_s: Seconds = Field(
        5,
        description="Seconds between readings of the channels; a changed secret is live after that.",
    )
    credentials_age_s_max: Seconds = Field(
        3_600,
        description="Seconds the last copy of the channels' stored credentials is believed while the order "
        "service does not answer; a revoked one may fit as long, for what other services answer.",
    )
    channel_rate_per_s: float = Field(
        2_000,
        ge=0,
        description="Admitted requests a second of each channel or merchant, for long, at all gateways"
        " together; the catalogue's rate_per_s goes before it. 0 does not limit.",
    )
    channel_burst: int = Field(
        4_000, ge=1, description="Requests a channel may make at once before its rate counts."
    )
    address_rate_per_s: float = Field(
        5_000,
        ge=0,
        description="Requests a second of each address, right or wrong, at all gateways together; trusted"
        " proxies excepted. Above a channel's, whose calls may all come from one. 0 does not limit.",
    )
    address_burst: int = Field(
        10_000, ge=1, description="Requests an address may make at once before its rate counts."
    )
    gateway_replicas: int = Field(
        1,
        ge=1,
        le=1_000,
        description="Gateways expected. Each takes so small a part of every limit while NATS, by which they"
        " share the limits out, has not been reached since its start.",
    )
    channel_legacy_errors: bool = Field(
        False,
        description="Errors as the original sent them: the documented number as HTTP status, `data` only.",
    )
    beanpay_legacy_errors: bool = Field(
        False, description="The same for the ledger's endpoints, 201 included."
    )
    trusted_proxies: list[str] = Field(
        [],
        description="Networks whose X-Forwarded-For is believed; everyone else's is ignored.",
        examples=[["10.0.0.0/8"]],
    )
    secrets_dir: Path | None = Field(
        None,
        description="Folder of channel secrets, one file each, named as the catalogue names the secret.",
        examples=["/run/secrets"],
    )
    sign_window_s: Seconds = Field(
        300, description="Seconds a signature's timestamp may differ from our clock."
    )
    nonce_keep_s: Seconds = Field(
        600, description="Seconds a nonce is remembered; at least twice sign_window_s."
    )
    goofish_app_id: str = Field(
        "",
        pattern="^([1-9][0-9]{0,17})?$",
        description="Our application at the platform of the 虚拟货源 interface; empty takes no calls.",
        examples=["677859093659717"],
    )
    downloads_max: int = Field(
        16,
        ge=1,
        le=1000,
        description="Files that are sent at a time; one more is told to come again.",
    )
    download_s: Seconds = Field(600, description="Seconds in which a file must have been taken.")
    access_log: AccessLog = Field(
        "writes",
        description="Requests logged: off, errors (500 and up), writes (and errors), all.",
    )

    docs: bool = Field(
        True,
        description="Whether the partners' documentation is served at /docs; its page of errors always is.",
    )
    request_log: bool = Field(
        True,
        description="Whether what partners call is kept for them (`/request/list`), at the order service.",
    )
    request_log_flush_s: Seconds = Field(
        2, description="Seconds requests wait in memory before they are packed and stored."
    )
    request_log_waiting_max: int = Field(
        20_000,
        ge=1,
        description="Requests that wait in memory; more are missing in the log, which says how many.",
    )
    public_base_url: str = Field(
        "http://127.0.0.1:8600",
        description="Where partners reach this gateway; links to bills and in PayServer's answers begin so.",
        examples=["https://pay.example.com"],
    )
    payserver_jwks_file: Path | None = Field(
        None,
        description="Key set (JWKS) with the public keys of PayServer's tokens; without it none is believed.",
        examples=["/run/secrets/payserver.jwks.json"],
    )
    payserver_issuer: str = Field("shoudan", description="`iss` that PayServer's tokens must have.")
    payserver_audience: str = Field(
        "payserver", description="`aud` that PayServer's tokens must have."
    )
    payserver_roles_everyone: list[str] = Field(
        ["admin"],
        description="Roles whose tokens act for every merchant and may register templates.",
    )

    def cross_check(self) -> Iterator[str]:
        """Deadlines shrink inward, networks are readable, the ledger stays inside."""
        yield from super().cross_check()
        if self.rpc_deadline_s >= self.deadline_s:
            yield "rpc_deadline_s: must be below deadline_s"
        if self.body_wait_s >= self.deadline_s:
            yield "body_wait_s: must be below deadline_s"
        for part, whole in (
            ("unread_bodies_per_address_max", "unread_bodies_max"),
            ("connections_per_address_max", "connections_max"),
        ):
            if getattr(self, part) > getattr(self, whole):
                yield f"{part}: must not be above {whole}"
        if self.internal_tls and self.tls_files is None:
            yield "internal_tls: needs tls_cert, tls_key and tls_ca"
        if self.profile == "prod" and not (self.internal_tls or is_loopback(self.internal_host)):
            yield f"internal_host: {self.internal_host} is reached from outside, and has no TLS"
        if self.nonce_keep_s < 2 * self.sign_window_s:
            yield "nonce_keep_s: must be at least twice sign_window_s"
        for network in self.trusted_proxies:
            try:
                ip_network(network, strict=False)
            except ValueError:
                yield f"trusted_proxies: {network} is no network, for example 10.0.0.0/8"
