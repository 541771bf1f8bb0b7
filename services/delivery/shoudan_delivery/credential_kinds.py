"""What this service keeps credentials for."""

from __future__ import annotations

from typing import Final

from shoudan_kit.credentials.kinds import CredentialKind

# Requests to a supplier are signed with its newest one; its notifies may be signed with any in force.
SUPPLIER: Final = CredentialKind("supplier", "number of an up channel")
KINDS: Final = (SUPPLIER,)
