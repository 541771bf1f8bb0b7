"""Blocks: what is hashed, in which form, so that an auditor can compute it again in any language.

A row is the JSON array of its columns in the order of ROW, the time as microseconds since 1970. A block is
the JSON array of its service, number, count, first and last number, the two digests in hex and its time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Final

import orjson

FIRST_PREVIOUS: Final = bytes(32)
ROW: Final = (
    "id",
    "service",
    "action",
    "caller_kind",
    "caller_ref",
    "address",
    "subject_kind",
    "subject_key",
    "before",
    "after",
    "reason",
    "request_id",
    "proposal_id",
    "outcome",
)
_values: Final = attrgetter(*ROW)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Block:
    """One block without its seal."""

    service: str
    block_no: int
    row_count: int
    first_id: int
    last_id: int
    rows_digest: bytes
    previous_digest: bytes
    create_time: datetime

    @property
    def digest(self) -> bytes:
        """What is sealed, and what the next block begins with."""
        values = (
            self.service,
            self.block_no,
            self.row_count,
            self.first_id,
            self.last_id,
            self.rows_digest.hex(),
            self.previous_digest.hex(),
            micros(self.create_time),
        )
        return hashlib.sha256(orjson.dumps(values)).digest()


def row_digest(row: Any) -> bytes:
    """The digest of a row of audit_log."""
    return hashlib.sha256(orjson.dumps((*_values(row), micros(row.create_time)))).digest()


def rows_digest(rows: Iterable[tuple[int, bytes]]) -> bytes:
    """The digest of a block's rows: (number, digest), in the order of their numbers."""
    made = hashlib.sha256()
    for number, digest in rows:
        made.update(number.to_bytes(8, "big") + digest)
    return made.digest()


def micros(time: datetime) -> int:
    """Microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND
