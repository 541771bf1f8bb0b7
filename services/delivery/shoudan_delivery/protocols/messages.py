"""What a protocol module makes and is given: a call to send, a notify as it came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

NOTIFY_PARAMETER: Final = "token"  # of our notify URLs


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request to send."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Unwritable:
    """A call that cannot be made of this delivery, or with this secret: nothing was sent."""

    why: str


@dataclass(frozen=True, slots=True)
class InboundNotify:
    """One HTTP request as it came."""

    method: str
    query: str
    body: bytes
    headers: Mapping[str, str]
    remote_ip: str


@dataclass(frozen=True, slots=True)
class Unverified:
    """A notify that must change nothing."""

    why: str
