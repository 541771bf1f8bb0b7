"""What credentials are as values: a stored row, and one to be stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from shoudan_kit.credentials.states import CredentialStatus


@dataclass(frozen=True, slots=True)
class CredentialRow:
    """A stored credential without its secret."""

    credential_id: int
    kind: str
    owner: str
    fingerprint: str
    status: CredentialStatus
    not_before: datetime | None
    expire_time: datetime | None
    last_used_time: datetime | None
    create_time: datetime
    created_by: str
    reason: str
    ended_by: str | None
    ended_reason: str | None


@dataclass(frozen=True, slots=True)
class SealedRow:
    """A live credential with its secret as it is stored."""

    credential_id: int
    kind: str
    owner: str
    sealed: bytes = field(repr=False)
    not_before: datetime | None
    expire_time: datetime | None


@dataclass(frozen=True, slots=True)
class NewCredential:
    """What is asked for; an empty secret is drawn. `overlap_s`: it replaces the others, which end then."""

    request_key: str
    kind: str
    owner: str
    by: str
    reason: str
    secret: str = field(default="", repr=False)
    not_before: datetime | None = None
    expire_time: datetime | None = None
    overlap_s: int | None = None
