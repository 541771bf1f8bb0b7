"""The knobs of ERP ingest."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from shoudan_kit.config import Port, Secret, ServiceSettings

# Known to everybody, so that a first look needs no set-up; the prod profile refuses them.
DEMO_KEYS = "demo:c2hvdWRhbi1kZW1vLWtleS1zaG91ZGFuLWRlbW8ta2U="
DEMO_INDEX_KEY = "c2hvdWRhbi1kZW1vLWluZGV4LXNob3VkYW4tZGVtby0="


class SenderRule(BaseModel):
    """What one sender must show beyond being on the list."""

    scheme: Literal["", "wdt-md5", "top-md5", "top-hmac"] = ""
    secret: str = Field("", repr=False)
    networks: list[str] = []


RULES = TypeAdapter(dict[str, SenderRule])


class ErpSettings(ServiceSettings):
    """What ERP ingest needs beyond every service."""

    listen_port: Port = Field(50054, description="Port served; 0 takes any free one.")
    customers: list[str] = Field(
        ["BudweiserTmall"],
        description="customerids whose trades are taken; everybody else is refused and nothing kept.",
        examples=[["BudweiserTmall"]],
    )
    app_keys: list[str] = Field(
        ["24647807"],
        description="app_keys whose refunds are taken; everybody else is refused and nothing kept.",
        examples=[["24647807"]],
    )
    sender_rules: Secret = Field(
        Secret("{}"),
        description="JSON by sender: scheme (wdt-md5, top-md5, top-hmac), secret, networks it calls from.",
        examples=['{"24647807": {"scheme": "top-md5", "secret": "…", "networks": ["10.0.0.0/8"]}}'],
    )
    personal_keys: Secret = Field(
        Secret(DEMO_KEYS),
        description="Keys of personal data, id:base64 of 32 bytes, newest first; old ones still open.",
        examples=["k2:…,k1:…"],
    )
    index_key: Secret = Field(
        Secret(DEMO_INDEX_KEY),
        description="Key of the phone index, base64 of 32 bytes; changing it forgets what was indexed.",
    )
    raw_keep_days: int = Field(
        180,
        ge=1,
        le=3650,
        description="Days raw pushes are kept; documents made of them stay until they are erased.",
    )
    raw_clear_s: float = Field(
        3600, ge=1, le=86_400, description="Seconds between looks for raw pushes that are too old."
    )

    def cross_check(self) -> Iterator[str]:
        """Rules are readable, and prod has keys of its own."""
        yield from super().cross_check()
        yield from self._check_rules()
        if self.profile == "prod":
            for name, demo in (("personal_keys", DEMO_KEYS), ("index_key", DEMO_INDEX_KEY)):
                if getattr(self, name).reveal() == demo:
                    yield f"{name}: the demo's key must not be used in the prod profile"

    def _check_rules(self) -> Iterator[str]:
        try:
            rules = self.rules()
        except ValidationError as error:
            yield f"sender_rules: not JSON of rules by sender ({error.error_count()} mistakes)"
            return
        for sender, rule in rules.items():
            if bool(rule.scheme) != bool(rule.secret):
                yield f"sender_rules: {sender}: a scheme needs a secret, a secret a scheme"
            for network in rule.networks:
                try:
                    ip_network(network, strict=False)
                except ValueError:
                    yield f"sender_rules: {sender}: {network} is no network, for example 10.0.0.0/8"

    def rules(self) -> dict[str, SenderRule]:
        """The rules by sender. Raises ValidationError."""
        return RULES.validate_json(self.sender_rules.reveal())
