"""What is published: that an operator changed, and that another key signs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shoudan.identity.v1 import events_pb2
from shoudan_kit.tasks.unit_of_work import UnitOfWork

OPERATOR_CHANGED: Final = "shoudan.events.identity.operator.changed"
KEY_ROTATED: Final = "shoudan.events.identity.key.rotated"


def operator_changed(
    work: UnitOfWork, operator_id: int, what: str, roles: Sequence[str], by_operator_id: int = 0
) -> None:
    """Publish a change of one operator, by numbers alone: an event outlives the erasure of a name."""
    body = events_pb2.OperatorChanged(
        operator_id=operator_id, what=what, roles=roles, by_operator_id=by_operator_id
    )
    work.events.add(OPERATOR_CHANGED, key=str(operator_id), body=body, text=what)


def key_rotated(work: UnitOfWork, key_id: str, by_operator_id: int = 0) -> None:
    """Publish that another key signs."""
    body = events_pb2.KeysRotated(key_id=key_id, by_operator_id=by_operator_id)
    work.events.add(KEY_ROTATED, key=key_id, body=body, text=f"tokens are signed by {key_id}")
