"""Tasks that are not written, because the row of another one stands for them. Decision 0058.

A cover is a row of the task table that is due later, or once a process that died would have lost its
leases. Until half of that time is over, tasks made under it stay in the memory of this process. The handler
of the row makes what it finds missing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.tasks import store
from shoudan_kit.tasks.kinds import Task
from shoudan_kit.tasks.rows import NewTask

HELD_PART: Final = (
    0.5  # of a lease: what is older is written, so that no two processes take it for theirs
)


def _now_s() -> float:
    """Seconds that never go back."""
    return time.monotonic()


@dataclass(slots=True, eq=False)
class Cover:
    """The row `task_id`, due `delay_s` after it was made, or with the lease while it covers tasks."""

    task_id: int
    delay_s: float
    open: int = 0  # tasks under it that are not written
    over: bool = False  # its own work is done: it goes with the last of them
    lifted: bool = False  # covers nothing any more
    # A commit of steps under it was not answered: they may be nowhere, so its row stays due with the lease.
    doubted: bool = False
    made_at: float = field(default_factory=_now_s)

    def holds(self, lease_s: float) -> bool:
        """Whether a task made now may stay unwritten."""
        return not self.lifted and time.monotonic() < self.made_at + lease_s * HELD_PART

    @property
    def left_s(self) -> float:
        """Seconds until it is due by itself."""
        return max(0.0, self.made_at + self.delay_s - time.monotonic())


@dataclass(slots=True)
class Covered:
    """What one transaction holds under covers, ends there, and does to their rows."""

    held: list[NewTask] = field(default_factory=list[NewTask])
    gone: list[int] = field(
        default_factory=list[int]
    )  # rows of covers that are not needed any more
    lifted: list[Cover] = field(default_factory=list[Cover])

    def hold(self, new: Sequence[NewTask], lease_s: float) -> None:
        """Keep tasks in memory where all of those under one cover run here; else its row is due by itself."""
        rows = {one.id: one for one in new}
        under: dict[Cover, list[NewTask]] = {}
        for one in new:
            if one.cover is not None:
                under.setdefault(one.cover, []).append(one)
        for cover, ones in under.items():
            row = rows.get(cover.task_id)
            if cover.holds(lease_s) and all(one.mine for one in ones):
                cover.open += len(ones)
                self.held += ones
                if row is not None:
                    row.delay_s = min(row.delay_s, lease_s)
            elif not cover.lifted and not cover.open:
                cover.lifted = True
                self.lifted += [cover] if row is None else []
        for one in self.held:
            one.held = True

    def end(self, tasks: Iterable[Task[Any]], over: Iterable[Cover]) -> None:
        """These tasks end, and these covers' own work: with the last of its tasks a cover goes, too."""
        ending = Counter(task.held.cover for task in tasks if task.held is not None)
        over = dict.fromkeys(over)  # in their order, so that a run is the same run again
        for cover in dict.fromkeys((*ending, *over)):
            if cover is not None and (cover.over or cover in over) and cover.open == ending[cover]:
                cover.lifted = True
                self.gone.append(cover.task_id)

    def undo(self) -> None:
        """The transaction has failed: what it held is nowhere."""
        for one in self.held:
            assert one.cover is not None
            one.cover.open -= 1

    def doubt(self) -> None:
        """The commit was not answered: rows may have moved on to steps that no memory holds."""
        for one in self.held:
            assert one.cover is not None
            one.cover.lifted = one.cover.doubted = True
        self.undo()


def let_go(task: Task[Any]) -> None:
    """The task has ended, or has a row now."""
    if task.held is not None:
        assert task.held.cover is not None
        task.held.cover.open -= 1
        task.held = None


async def write(db: AsyncConnection, tasks: Sequence[Task[Any]], lease_s: float) -> None:
    """Give held tasks rows of their own, leased to this process.

    Rows of covers that hold nothing more are due by themselves, or go.
    """
    held = [task.held for task in tasks if task.held is not None]
    going = Counter(one.cover for one in held)
    bare = [cover for cover in going if cover is not None and cover.open <= going[cover]]
    for cover in going:
        assert cover is not None
        cover.lifted = True
    gone = [cover.task_id for cover in bare if cover.over]
    await store.write(db, tasks=held, lease_s=lease_s, done=gone, batch_id=0, events=())
    await lift(db, [cover for cover in bare if not cover.over and not cover.doubted])


async def lift(db: AsyncConnection, covers: Sequence[Cover]) -> None:
    """Make the rows of these due when they are by themselves."""
    if covers:
        due_s: Mapping[int, float] = {cover.task_id: cover.left_s for cover in covers}
        await store.postpone_tasks(db, due_s)
