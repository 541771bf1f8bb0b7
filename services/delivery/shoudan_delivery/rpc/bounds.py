"""What the servicers share: how much one call may carry, pages, moments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from shoudan_delivery.refusals import FieldInvalid

ITEMS_MAX: Final = 1_000
PAGE_DEFAULT: Final = 100
ID_MAX: Final = 2**63 - 1


def bounded(items: Sequence[Any]) -> None:
    """Refuses FieldInvalid for more items than one call may have."""
    if len(items) > ITEMS_MAX:
        raise FieldInvalid("items", f"at most {ITEMS_MAX}")


def page_size(asked: int) -> int:
    """How many a page has. Refuses FieldInvalid."""
    if not 0 <= asked <= ITEMS_MAX:
        raise FieldInvalid("page_size", f"0 to {ITEMS_MAX}")
    return asked or PAGE_DEFAULT


def newest_before(token: str) -> int:
    """The number below which a page begins. Refuses FieldInvalid."""
    if not token:
        return ID_MAX
    if not (token.isascii() and token.isdecimal() and len(token) <= 19):
        raise FieldInvalid("page_token", "not one of ours")
    return min(int(token), ID_MAX)


def oldest_after(token: str) -> int:
    """The number behind which a page begins. Refuses FieldInvalid."""
    return newest_before(token) if token else 0


def stamp(when: datetime | None) -> Timestamp | None:
    """A moment as it travels."""
    if when is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(when)
    return stamp
