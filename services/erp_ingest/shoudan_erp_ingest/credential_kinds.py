"""What this service keeps credentials for."""

from __future__ import annotations

from typing import Final

from shoudan_kit.credentials.kinds import CredentialKind

# How a sender signs is its scheme in sender_rules; without one no push of it is believed.
SENDER: Final = CredentialKind("erp", "customerid or app_key of a sender")
KINDS: Final = (SENDER,)
