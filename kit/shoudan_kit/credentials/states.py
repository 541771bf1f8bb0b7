"""The lifecycle of a credential."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final

from shoudan_kit.state_machine import Machine


class CredentialStatus(IntEnum):
    """credential.status."""

    ACTIVE = 10  # in force between its times
    RETIRING = 20  # replaced, in force until its expire_time
    REVOKED = 90  # ended by an operator
    EXPIRED = 91  # ended at its expire_time


class CredentialEvent(StrEnum):
    """What can happen to a credential."""

    REPLACED = "replaced"
    REVOKED = "revoked"
    EXPIRED = "expired"


CREDENTIAL: Final = Machine(
    name="credential",
    initial=CredentialStatus.ACTIVE,
    moves={
        (CredentialStatus.ACTIVE, CredentialEvent.REPLACED): CredentialStatus.RETIRING,
        (CredentialStatus.ACTIVE, CredentialEvent.REVOKED): CredentialStatus.REVOKED,
        (CredentialStatus.ACTIVE, CredentialEvent.EXPIRED): CredentialStatus.EXPIRED,
        (CredentialStatus.RETIRING, CredentialEvent.REVOKED): CredentialStatus.REVOKED,
        (CredentialStatus.RETIRING, CredentialEvent.EXPIRED): CredentialStatus.EXPIRED,
    },
)
