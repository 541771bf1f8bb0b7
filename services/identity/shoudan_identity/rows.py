"""What rows are as values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """One operator."""

    operator_id: int
    name: str
    display_name: str
    roles: Sequence[str]
    disabled: bool
    password_hash: str
    password_until: datetime | None
    totp_sealed: bytes | None
    totp_next_sealed: bytes | None
    totp_step: int
    create_time: datetime
    created_by: str
    update_time: datetime
    changed_by: str
    channels: Sequence[str]


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session with what its operator is now."""

    session_id: int
    operator_id: int
    family_hash: bytes
    refresh_hash: bytes
    previous_hash: bytes | None
    second_factor: bool
    address: str
    agent: str
    create_time: datetime
    use_time: datetime
    end_time: datetime
    ended_time: datetime | None
    now: datetime


@dataclass(frozen=True, slots=True)
class ApiTokenRow:
    """One API token."""

    token_id: int
    operator_id: int
    name: str
    roles: Sequence[str]
    token_hash: bytes
    create_time: datetime
    expire_time: datetime
    use_time: datetime | None
    revoke_time: datetime | None
    now: datetime


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One signing key."""

    key_no: int
    key_id: str
    status: int
    public_key: bytes
    sealed: bytes
    create_time: datetime
    use_time: datetime | None
    retire_time: datetime | None
    now: datetime


def row_of(kind: Callable[..., T], row: Any) -> T:
    """A row of a statement whose columns are the fields of `kind`."""
    return kind(**row)
