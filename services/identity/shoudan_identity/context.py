"""What the calls of this service work with, made once per process."""

from __future__ import annotations

from dataclasses import dataclass

from shoudan_identity.config import IdentitySettings
from shoudan_identity.passwords import PasswordRoom
from shoudan_identity.provider import Provider
from shoudan_identity.signing_keys import SigningKeys
from shoudan_kit.limits.rates import Rates
from shoudan_kit.secrets.sealing import KeyRing
from shoudan_kit.secrets.tokens import TokenVerifier
from shoudan_kit.service import App


@dataclass(frozen=True, slots=True)
class Context:
    """One process's identity service."""

    app: App[IdentitySettings]
    ring: KeyRing
    verifier: TokenVerifier
    keys: SigningKeys
    room: PasswordRoom
    rates: Rates
    waits: Rates  # rows of the audit log of attempts refused for a wait
    provider: Provider | None

    @property
    def settings(self) -> IdentitySettings:
        return self.app.settings
