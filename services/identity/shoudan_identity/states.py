"""The lifecycle of a signing key, and the numbers of what is stored."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final

from shoudan_kit.state_machine import Machine


class KeyStatus(IntEnum):
    """signing_key.status."""

    NEXT = 10  # published, signs nothing yet
    CURRENT = 20  # signs
    RETIRED = 30  # published until what it signed has expired
    DROPPED = 90  # published no more


class KeyEvent(StrEnum):
    """What can happen to a key."""

    PROMOTED = "promoted"
    REPLACED = "replaced"
    REVOKED = "revoked"  # it is compromised: what it signed counts no more
    EXPIRED = "expired"


SIGNING_KEY: Final = Machine(
    name="signing key",
    initial=KeyStatus.NEXT,
    moves={
        (KeyStatus.NEXT, KeyEvent.PROMOTED): KeyStatus.CURRENT,
        (KeyStatus.NEXT, KeyEvent.REVOKED): KeyStatus.DROPPED,
        (KeyStatus.CURRENT, KeyEvent.REPLACED): KeyStatus.RETIRED,
        (KeyStatus.CURRENT, KeyEvent.REVOKED): KeyStatus.DROPPED,
        (KeyStatus.RETIRED, KeyEvent.REVOKED): KeyStatus.DROPPED,
        (KeyStatus.RETIRED, KeyEvent.EXPIRED): KeyStatus.DROPPED,
    },
)


class AttemptScope(IntEnum):
    """login_attempt.scope: whose failures a row counts."""

    ADDRESS = 1  # of one address, over all names
    NAME = 2  # of one name from one address
    DEVICE = 3  # of one known device of an operator
