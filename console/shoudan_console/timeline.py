"""A timeline as a picture: a track for each service, idle time collapsed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

STEP: Final = 14  # between two moments, whatever lies between them
TRACK: Final = 26
LEFT: Final = 96
LONG_S: Final = 60  # a gap that is written out


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a lifecycle, and where it stands in the picture."""

    time: datetime
    service: str
    tag: str
    text: str
    trace_id: str
    x: int
    y: int
    gap_s: int  # since the one before


@dataclass(frozen=True, slots=True)
class Picture:
    """The tracks and their moments; `older` is the token of the page with those before."""

    tracks: Sequence[tuple[str, int]]
    moments: Sequence[Moment]
    width: int
    height: int
    older: str


def picture(found: Sequence[Any], older: str) -> Picture:
    """The picture of a page of moments, oldest first."""
    tracks = {
        name: TRACK * number
        for number, name in enumerate(dict.fromkeys(m.service for m in found), 1)
    }
    x, before = LEFT, None
    moments: list[Moment] = []
    for one in found:
        time = one.time.ToDatetime(UTC)
        gap_s = 0 if before is None else max(0, int((time - before).total_seconds()))
        if before is not None:
            x += STEP + 5 * gap_s.bit_length()  # a gap twice as long is one step wider
        before = time
        place = tracks[one.service]
        moments.append(Moment(time, one.service, one.tag, one.text, one.trace_id, x, place, gap_s))
    height = TRACK * (len(tracks) + 1)
    return Picture(list(tracks.items()), moments, x + 60, height, older)
