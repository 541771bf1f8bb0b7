"""How much one call may carry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from shoudan_delivery.refusals import FieldInvalid

ITEMS_MAX: Final = 1_000


def bounded(items: Sequence[Any]) -> None:
    """Refuses FieldInvalid for more items than one call may have."""
    if len(items) > ITEMS_MAX:
        raise FieldInvalid("items", f"at most {ITEMS_MAX}")
