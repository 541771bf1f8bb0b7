"""Settings of ERP ingest."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import ClassVar, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from shoudan_kit.config import Port, Secret
from shoudan_kit.secrets.sealing_settings import SealingSettings


class SenderRule(BaseModel):
    """What one sender must show beyond being on the list."""

    scheme: Literal["", "wdt-md5", "top-md5", "top-hmac"] = ""
    secret: str = Field("", repr=False)
    networks: list[str] = []


RULES = TypeAdapter(dict[str, SenderRule])


class ErpSettings(SealingSettings):
    """What ERP ingest needs beyond every service."""

    shardable: ClassVar[bool] = True

    masked: ClassVar[frozenset[str]] = frozenset(
        {
            "buyer_account",
            "buyer_message",
            "buyer_name",
            "buyer_nick",
            "customer_name",
            "pay_account",
            "receiver_address",
            "receiver_mobile",
            "receiver_name",
            "receiver_phone",
            "receiver_zip",
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

    listen_port: Port = Field(50054, description="Port served; 0 takes any free one.")
    customers: list[str] = Field(
        ["BudweiserTmall"],
        description="customerids whose trades are taken; others are refused and nothing is stored.",
        examples=[["BudweiserTmall"]],
    )
    app_keys: list[str] = Field(
        ["24647807"],
        description="app_keys whose refunds are taken; others are refused and nothing is stored.",
        examples=[["24647807"]],
    )
    sender_rules: Secret = Field(
        Secret("{}"),
        description="JSON by sender: scheme (wdt-md5, top-md5, top-hmac), networks it calls from, secret; a "
        "stored credential goes before the secret (`shoudan partner key issue erp SENDER`).",
        examples=['{"24647807": {"scheme": "top-md5", "secret": "…", "networks": ["10.0.0.0/8"]}}'],
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
        """Rules are readable."""
        yield from super().cross_check()
        yield from self._check_rules()

    def _check_rules(self) -> Iterator[str]:
        try:
            rules = self.rules()
        except ValidationError as error:
            yield f"sender_rules: not JSON of rules by sender ({error.error_count()} mistakes)"
            return
        for sender, rule in rules.items():
            if rule.secret and not rule.scheme:
                yield f"sender_rules: {sender}: a secret needs a scheme"
            for network in rule.networks:
                try:
                    ip_network(network, strict=False)
                except ValueError:
                    yield f"sender_rules: {sender}: {network} is no network, for example 10.0.0.0/8"

    def rules(self) -> dict[str, SenderRule]:
        """The rules by sender. Raises ValidationError."""
        return RULES.validate_json(self.sender_rules.reveal())
