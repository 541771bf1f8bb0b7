"""What a call changed of many things, as one row of the audit log: whole things, as many as fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from shoudan_kit.audit_log.entries import FACTS_BYTES_MAX, describe, facts_text

THING_BYTES_MAX: Final = 2_048  # of one thing; a larger one is named alone
_ROOM: Final = (
    FACTS_BYTES_MAX - 256
)  # for the things; the rest is for their frame and what is left out
NOT_SHOWN: Final = "not shown"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that was changed: the fields that differ, as they were and as they are now.

    Without `before` the thing is new, and `after` is all of it.
    """

    thing: str
    before: Mapping[str, object] | None
    after: Mapping[str, object]


def lines_of(changes: Iterable[Change]) -> list[str]:
    """One line for each change."""
    return [f"{one.thing}: {_words(one)}" for one in changes]


def _words(one: Change) -> str:
    if one.before is None:
        return "new"
    return ", ".join(f"{c} {was!r} -> {one.after[c]!r}" for c, was in one.before.items())


def describe_changes(subject: str, key: str | int, changes: Iterable[Change]) -> None:
    """Say of the row of this call what each thing was before and is after; how many are left out, too."""
    before: dict[str, object] = {}
    after: dict[str, object] = {}
    left_out, used = 0, [0, 0]
    for one in changes:
        sides = [_side(one.thing, side) for side in (one.before, one.after)]
        bytes_of = [0 if side is None else _bytes(one.thing, side) for side in sides]
        if left_out or any(u + b > _ROOM for u, b in zip(used, bytes_of, strict=True)):
            left_out += 1
            continue
        used = [u + b for u, b in zip(used, bytes_of, strict=True)]
        for made, side in zip((before, after), sides, strict=True):
            if side is not None:
                made[one.thing] = side
    if left_out:
        after[NOT_SHOWN] = left_out
    describe(subject, key, before or None, after)


def _side(thing: str, fields: Mapping[str, object] | None) -> object:
    """A side of a change as it is shown: with its values, or where they are too long with its names."""
    if fields is None or _bytes(thing, fields) <= THING_BYTES_MAX:
        return fields
    return sorted(fields)


def _bytes(thing: str, side: object) -> int:
    return len(facts_text({thing: side}).encode())
