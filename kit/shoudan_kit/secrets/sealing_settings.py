"""The settings of services that keep personal data: the keys it is sealed under."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from shoudan_kit.config import Secret, ServiceSettings
from shoudan_kit.secrets.sealing import KeyRing

# Public, so that a first look needs no set-up; the prod profile refuses them.
DEMO_KEYS = "demo:c2hvdWRhbi1kZW1vLWtleS1zaG91ZGFuLWRlbW8ta2U="
DEMO_INDEX_KEY = "c2hvdWRhbi1kZW1vLWluZGV4LXNob3VkYW4tZGVtby0="


class SealingSettings(ServiceSettings):
    """What a service needs that keeps personal data or credentials."""

    personal_keys: Secret = Field(
        Secret(DEMO_KEYS),
        description="Keys of personal data and credentials, id:base64 of 32 bytes, newest first; old ones"
        " still open.",
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


class CredentialSealingSettings(SealingSettings):
    """What a service needs that seals nothing but credentials: without stored ones it needs no key."""

    personal_keys: Secret = Field(
        Secret(""),
        description="Keys of credentials, id:base64 of 32 bytes, newest first; old ones still open. Without"
        " them no credential is stored in prod; elsewhere the demo's are used.",
        examples=["k2:…,k1:…"],
    )
    index_key: Secret = Field(
        Secret(""),
        description="Key of the digests that repeats of a request are known by, base64 of 32 bytes; set with"
        " personal_keys.",
    )

    def cross_check(self) -> Iterator[str]:
        """Both keys or none."""
        yield from super().cross_check()
        if bool(self.personal_keys.reveal()) != bool(self.index_key.reveal()):
            yield "personal_keys, index_key: both, or neither"

    def key_ring(self) -> KeyRing:
        """The keys, those of the demo without any. Raises ValueError."""
        keys, index = self.personal_keys.reveal(), self.index_key.reveal()
        return KeyRing.parse(keys or DEMO_KEYS, index or DEMO_INDEX_KEY)

    def own_key_ring(self) -> KeyRing | None:
        """The same; None in prod without keys."""
        none = self.profile == "prod" and not self.personal_keys.reveal()
        return None if none else self.key_ring()
