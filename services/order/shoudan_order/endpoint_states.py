"""The lifecycle of a channel's endpoint: sent to, paused by a person, switched off when it is dead."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final

from shoudan_kit.state_machine import Machine


class EndpointState(IntEnum):
    """Whether a channel's endpoint is sent what it is owed."""

    ACTIVE = 0
    PAUSED = 10
    OFF = 90


class EndpointEvent(StrEnum):
    """What moves it."""

    PAUSED = "paused"  # by a person
    DIED = "died"  # has not acknowledged for long
    RESUMED = "resumed"


ENDPOINT: Final = Machine(
    name="endpoint",
    initial=EndpointState.ACTIVE,
    moves={
        (EndpointState.ACTIVE, EndpointEvent.PAUSED): EndpointState.PAUSED,
        (EndpointState.ACTIVE, EndpointEvent.DIED): EndpointState.OFF,
        (EndpointState.OFF, EndpointEvent.PAUSED): EndpointState.PAUSED,
        (EndpointState.PAUSED, EndpointEvent.RESUMED): EndpointState.ACTIVE,
        (EndpointState.OFF, EndpointEvent.RESUMED): EndpointState.ACTIVE,
    },
)
