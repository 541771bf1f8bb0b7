"""Pages of lists whose cost is bounded by rows read, however few of them fit.

Numbers grow with time, so a list is a walk down its numbers and a period is a range of them. A page reads
at most WALK_MAX rows; when these do not fill it, its token says where the next page goes on, so that
nothing is left out and no page takes longer than another. A page asked for by number and not found within
NUMBERED_MAX rows is refused, and totals count no further.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.text_statements import statement
from shoudan_kit.ids import EPOCH, first_of

T = TypeVar("T")

WALK_MAX: Final = 10_000
# Pages by number have no token to go on with: each is looked for among so many rows from the first.
NUMBERED_MAX: Final = 100_000
ID_MAX: Final = 2**63 - 1
# A number is made a moment before its row, by another clock than the row's time.
APART: Final = timedelta(days=1)
AFTER_ALL: Final = datetime(2200, 1, 1, tzinfo=UTC)  # no number is made so late


@dataclass(frozen=True, slots=True)
class Asked:
    """Which page: behind `start`, or at `offset` for callers that page by number."""

    start: int
    offset: int
    most: int
    numbered: bool
    counted: bool


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Rows, the token of the next page, how many there are; `cut`: not all rows were looked at."""

    shown: list[T]
    token: str
    count: int
    cut: bool


def first_id(moment: datetime | None) -> int:
    """The smallest number a row of this moment or later may have; 0 without one."""
    return 0 if moment is None else first_of(max(moment, EPOCH) - APART)


def end_id(moment: datetime | None) -> int:
    """No row before this moment has this number or a greater one; ID_MAX without one."""
    return ID_MAX if moment is None else first_of(min(moment, AFTER_ALL) + APART)


def edge(table: str, key: str, where: str = "true", *, walk: int = WALK_MAX) -> TextClause:
    """The number at which a walk down from `:before` ends: an index alone is read."""
    return statement(
        f"SELECT {key} FROM {table} WHERE {where} AND {key} < :before AND {key} >= :since"
        f" ORDER BY {key} DESC OFFSET {walk - 1} LIMIT 1"
    )


def rising_edge(table: str, key: str, where: str = "true", *, walk: int = WALK_MAX) -> TextClause:
    """The number at which a walk up from `:after` ends."""
    return statement(
        f"SELECT {key} FROM {table} WHERE {where} AND {key} > :after ORDER BY {key}"
        f" OFFSET {walk - 1} LIMIT 1"
    )


async def walk_end(
    db: AsyncConnection,
    edge_of: TextClause,
    before: int,
    since: int,
    binds: Mapping[str, Any] | None = None,
) -> int:
    """The smallest number one page reads: `since`, or above it where more rows lie between."""
    given = {**(binds or {}), "before": before, "since": since}
    found: int | None = (await db.execute(edge_of, given)).scalar_one_or_none()
    return since if found is None else found


async def rising_end(db: AsyncConnection, edge_of: TextClause, after: int) -> int:
    """The greatest number one page reads, walking up; ID_MAX when it reads all there are."""
    found: int | None = (await db.execute(edge_of, {"after": after})).scalar_one_or_none()
    return ID_MAX if found is None else found


def rising_token(numbers: list[int], most: int, reached: int) -> str:
    """The token of the page after one that walked up."""
    if len(numbers) == most:
        return str(numbers[-1])
    return "" if reached == ID_MAX else str(reached)


def next_token(numbers: list[int], most: int, reached: int, since: int) -> str:
    """The token of the page after: behind its last row when it is full, else where the walk ended.

    Empty when everything from `since` on has been read.
    """
    if len(numbers) == most:
        return str(numbers[-1])
    return str(reached) if reached > since else ""
