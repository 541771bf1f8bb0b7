"""Settings of the console."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_network
from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import Field

from shoudan_kit.config import Port, ProcessSettings, Seconds, Secret
from shoudan_kit.db.url import DatabaseUrlInvalid, unverified_mistakes
from shoudan_kit.rpc.address import address


class ConsoleSettings(ProcessSettings):
    """Settings of `shoudan serve console`."""

    shardable: ClassVar[bool] = False
    tls_hosts: ClassVar[tuple[str, ...]] = ()  # HTTP: TLS ends at the proxy in front

    listen_port: Port = Field(
        8610, description="Port browsers reach; 0 takes any free one.", examples=[8610]
    )
    browser_url: str = Field(
        "",
        description="Where browsers reach the console. With https its cookies are Secure and named __Host-; "
        "prod refuses anything else.",
        examples=["https://console.example.com"],
    )
    trusted_proxies: list[str] = Field(
        [],
        description="Networks of the proxies in front: the last address of their X-Forwarded-For is the "
        "browser's, which a login is counted by.",
        examples=[["10.0.0.0/24"]],
    )
    database_url: Secret = Field(
        description="PostgreSQL database of sessions and views, as the role that may not change tables.",
        examples=["postgresql://shoudan_console@db/shoudan_console"],
    )
    owner_database_url: Secret | None = Field(
        None,
        description="The same database as the owner of its tables; used by `shoudan migrate` alone.",
        examples=["postgresql://shoudan_console_owner@db/shoudan_console"],
    )
    db_pool_size: int = Field(
        4,
        ge=1,
        le=64,
        description="Connections of this process; all processes together stay below PostgreSQL's 100.",
    )
    order_target: str = address("order", 50051)
    pay_target: str = address("pay", 50052)
    delivery_target: str = address("delivery", 50053)
    erp_ingest_target: str = address("erp_ingest", 50054)
    finance_target: str = address("finance", 50056)
    ops_urls: dict[str, str] = Field(
        default_factory=dict[str, str],
        description="Base URLs of /readyz and /metrics of each service, for the page of services: several "
        "separated by commas; a name stands for all its addresses.",
        examples=[{"order": "http://order:9090"}],
    )
    call_s: Seconds = Field(
        2.5, description="Seconds a call to a service may take; then its part of the page says so."
    )
    session_idle_s: Seconds = Field(
        1800, description="Seconds without a request after which a session ends."
    )
    session_s: Seconds = Field(
        43_200, description="Seconds after which a session ends, used or not: one working day."
    )
    prove_s: Seconds = Field(
        300,
        description="Seconds in which a person who gave password and code again may move money.",
    )
    upload_bytes_max: int = Field(
        67_108_864,
        ge=1,
        le=1_073_741_824,
        description="Bytes of a file that a browser may send; finance has its own bound of statements.",
    )
    work_due_s: Seconds = Field(
        14_400,
        description="Seconds in which what waits for a person is to be decided; then it is overdue.",
    )
    connections_max: int = Field(
        500, ge=10, le=100_000, description="Connections of browsers at once; more are refused."
    )

    @property
    def nats_servers(self) -> list[str]:
        """The console publishes nothing and hears nothing."""
        return []

    @property
    def secure(self) -> bool:
        """Whether browsers come over TLS."""
        return self.browser_url.startswith("https://")

    def cross_check(self) -> Iterator[str]:
        """Cookies are for TLS in prod; a login needs the service that knows operators."""
        yield from super().cross_check()
        if self.profile == "prod" and not self.secure:
            yield "browser_url: in the prod profile browsers come over https, for example https://console.example.com"
        if self.browser_url and not urlsplit(self.browser_url).hostname:
            yield "browser_url: a URL, for example https://console.example.com"
        if not self.identity_target:
            yield "identity_target: operators log in there; set SHOUDAN_IDENTITY_TARGET"
        if self.session_s <= self.session_idle_s:
            yield "session_s: longer than session_idle_s, else no session is ever idle"
        for name in ("database_url", "owner_database_url"):
            value: Secret | None = getattr(self, name)
            try:
                if value is not None:
                    yield from unverified_mistakes(name, value.reveal(), self.profile)
            except DatabaseUrlInvalid as wrong:
                yield f"{name}: {wrong}"
        for network in self.trusted_proxies:
            with suppress(ValueError):
                ip_network(network)
                continue
            yield f"trusted_proxies: {network} is no network such as 10.0.0.0/24"
