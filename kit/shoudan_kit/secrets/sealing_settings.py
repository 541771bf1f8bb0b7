"""The settings of services that keep personal data: the keys it is sealed under."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from shoudan_kit.config import Secret, ServiceSettings
from shoudan_kit.secrets.sealing import KeyRing

# Known to everybody, so that a first look needs no set-up; the prod profile refuses them.
DEMO_KEYS = "demo:c2hvdWRhbi1kZW1vLWtleS1zaG91ZGFuLWRlbW8ta2U="
DEMO_INDEX_KEY = "c2hvdWRhbi1kZW1vLWluZGV4LXNob3VkYW4tZGVtby0="


class SealingSettings(ServiceSettings):
    """What a service needs that keeps personal data."""

    personal_keys: Secret = Field(
        Secret(DEMO_KEYS),
        description="Keys of personal data, id:base64 of 32 bytes, newest first; old ones still open.",
        examples=["k2:…,k1:…"],
    )
    index_key: Secret = Field(
        Secret(DEMO_INDEX_KEY),
        description="Key of the digests personal data is found by, base64 of 32 bytes; changing it forgets"
        " what was indexed.",
    )

    def cross_check(self) -> Iterator[str]:
        """Keys can be read, and prod has keys of its own."""
        yield from super().cross_check()
        try:
            self.key_ring()
        except ValueError as error:
            yield f"personal_keys, index_key: {error}"
        if self.profile == "prod":
            for name, demo in (("personal_keys", DEMO_KEYS), ("index_key", DEMO_INDEX_KEY)):
                if getattr(self, name).reveal() == demo:
                    yield f"{name}: the demo's key must not be used in the prod profile"

    def key_ring(self) -> KeyRing:
        """The keys. Raises ValueError."""
        return KeyRing.parse(self.personal_keys.reveal(), self.index_key.reveal())


class SealedAccountSettings(SealingSettings):
    """What a service needs whose rows carry recharge accounts."""

    seal_accounts: bool = Field(
        True,
        description="Seal the recharge accounts of new rows. Off only while processes of a release that"
        " cannot open them still run; `shoudan personal seal` seals what was written meanwhile.",
    )
