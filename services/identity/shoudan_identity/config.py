"""The settings of the identity service."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from pydantic import Field

from shoudan_kit.config import Port, Seconds, Secret
from shoudan_kit.secrets.sealing_settings import SealingSettings
from shoudan_kit.tls.hops import is_loopback


class IdentitySettings(SealingSettings):
    """Settings of `shoudan serve identity`."""

    listen_port: Port = Field(50055, description="Port served; 0 takes any free one.")
    access_token_s: int = Field(
        900,
        ge=60,
        le=3600,
        description="Seconds an access token is good for: services verify it without asking, so a"
        " disabled operator acts no longer than this.",
    )
    session_idle_s: Seconds = Field(
        7200, description="Seconds without a refresh after which a session ends."
    )
    session_s: Seconds = Field(
        43_200, description="Seconds after which a session ends, used or not: one working day."
    )
    refresh_repeat_s: Seconds = Field(
        10,
        description="Seconds in which a used refresh token gives the same tokens again, because its"
        " answer may have been lost; later reuse ends the session.",
    )
    one_time_password_s: Seconds = Field(
        86_400, description="Seconds a one-time password is good for."
    )
    password_threads: int = Field(
        2,
        ge=1,
        le=16,
        description="Passwords hashed at once, each 19 MiB and about 20 ms of one core.",
    )
    password_waiting_max: int = Field(
        40,
        ge=2,
        le=1000,
        description="Logins that may wait for their password to be hashed; more are refused. Each"
        " address has one place whatever the others do.",
    )
    login_free_attempts: int = Field(
        5,
        ge=1,
        le=100,
        description="Failed logins of one operator from one address or device before a wait is asked;"
        " an address has four times as many over all operators.",
    )
    login_wait_s_max: Seconds = Field(
        900, description="Longest wait after failed logins; it doubles from one second."
    )
    key_days: int = Field(
        30, ge=1, le=365, description="Days a key signs tokens before the next one takes over."
    )
    key_publish_s: Seconds = Field(
        600,
        description="Seconds a key is published before it signs, so that every service has read it.",
    )
    oidc_issuer: str = Field(
        "",
        description="OpenID provider through which operators may log in beside their passwords, as it"
        " names itself; empty: none.",
        examples=["https://login.example.com"],
    )
    oidc_client_id: str = Field("", description="What the provider calls this system.")
    oidc_client_secret: Secret | None = Field(
        None, description="Secret of that client; none for a public one, which PKCE protects."
    )
    oidc_redirects: list[str] = Field(
        [],
        description="Addresses the provider may send a browser back to, beside those of the browser's"
        " own machine.",
        examples=[["https://console.example.com/login"]],
    )
    oidc_second_factor: list[str] = Field(
        ["mfa", "otp", "hwk"],
        description="Methods in the provider's tokens (`amr`, RFC 8176) that count as the second factor;"
        " without one of them an operator who needs it gives a code of its own authenticator.",
    )

    def cross_check(self) -> Iterator[str]:
        """Tokens name the system that issued them, and a session outlives its access token."""
        yield from super().cross_check()
        if not self.system_id:
            yield "system_id: tokens name the system that issued them; set SHOUDAN_SYSTEM_ID"
        if self.session_idle_s <= self.access_token_s:
            yield "session_idle_s: longer than access_token_s, else every session ends unused"
        yield from self._provider_mistakes()

    def _provider_mistakes(self) -> Iterator[str]:
        if not self.oidc_issuer:
            return
        if not self.oidc_client_id:
            yield "oidc_client_id: what the provider of oidc_issuer calls this system"
        parts = urlsplit(self.oidc_issuer)
        near = self.profile != "prod" and is_loopback(parts.hostname or "")
        if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and near)):
            yield "oidc_issuer: an https URL, for example https://login.example.com"
