"""Reads documented status numbers, of which 0 is success: one that was never set is an error."""

from __future__ import annotations

from google.protobuf.message import Message


class NotSet(ValueError):
    """A status was read that was never set: how that stands is unknown."""


def status_of(message: Message, field: str = "status") -> int:
    """The number in a status field. Raises NotSet where it was never set, so also in a missing message.

    Raises ValueError for a field that has no presence: it is no status.
    """
    if not message.HasField(field):
        raise NotSet(f"{message.DESCRIPTOR.full_name}.{field} is not set: ask, it is unknown")
    return int(getattr(message, field))
