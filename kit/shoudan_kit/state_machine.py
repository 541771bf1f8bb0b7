"""Lifecycles as tables: which state follows which, on what event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Generic, TypeVar

S = TypeVar("S", bound=IntEnum | StrEnum)
E = TypeVar("E", bound=StrEnum)


class IllegalMove(ValueError):
    """`event` means nothing in `state`."""

    def __init__(self, machine: str, state: IntEnum | StrEnum, event: StrEnum) -> None:
        super().__init__(f"{machine}: no move from {_label(state)} on {event.value}")
        self.machine, self.state, self.event = machine, state, event


@dataclass(frozen=True, slots=True)
class Machine(Generic[S, E]):
    """One lifecycle whose states carry the documented numbers or words. A state with no way out is final.

    A self-move (`(FAILED, RETRIED): FAILED`) does not keep a state from being final.
    """

    name: str
    initial: S
    moves: Mapping[tuple[S, E], S]

    def next(self, state: S, event: E) -> S:
        """The state after `event`. Raises IllegalMove."""
        try:
            return self.moves[state, event]
        except KeyError:
            raise IllegalMove(self.name, state, event) from None

    def moved(self, state: S, event: E) -> S | None:
        """The state after `event`; None when nothing moves: the event may not happen, or state stays."""
        after = self.moves.get((state, event))
        return None if after is state else after

    def allows(self, state: S, event: E) -> bool:
        """Whether `event` may happen in `state`."""
        return (state, event) in self.moves

    def sources(self, event: E) -> tuple[S, ...]:
        """The states `event` may happen in: the WHERE of a conditional update.

        Numbers rise; words stand in the order of their enum.
        """
        members = list(type(self.initial))
        found = {s for s, e in self.moves if e is event}
        return tuple(sorted(found, key=lambda s: s if isinstance(s, int) else members.index(s)))

    def target(self, event: E) -> S:
        """The state that `event` leads to, the same from wherever it may happen: the SET of an update."""
        found = {t for (_, e), t in self.moves.items() if e is event}
        assert len(found) == 1, f"{self.name}: {event.value} leads to {len(found)} states"
        return found.pop()

    def where(self, event: E, column: str = "status") -> str:
        """The condition of a statement that rows in these states alone meet, such as `status = 20`.

        The numbers are written out, because a partial index is used only for a condition that names them.
        """
        numbers = [str(int(one)) for one in self.sources(event)]
        return (
            f"{column} = {numbers[0]}"
            if len(numbers) == 1
            else f"{column} IN ({', '.join(numbers)})"
        )

    def between(self, event: E, column: str = "status") -> str:
        """The same as a range, which names no number alone: no partial index is read for it."""
        found = [int(one) for one in self.sources(event)]
        low, high = found[0], found[-1]
        assert found == sorted(one for one in map(int, self.states) if low <= one <= high)
        return f"{column} BETWEEN {low} AND {high}"

    @property
    def states(self) -> frozenset[S]:
        """Every state the table names."""
        return frozenset({self.initial, *self.moves.values(), *(s for s, _ in self.moves)})

    @property
    def final(self) -> frozenset[S]:
        """The states nothing leads out of."""
        return self.states - {s for (s, _), t in self.moves.items() if t is not s}

    @property
    def unreachable(self) -> frozenset[S]:
        """States, or members of the enum the table forgot, that no path from the start reaches."""
        reached = {self.initial}
        # Each round adds a state or ends, so there are at most as many rounds as states.
        for _ in self.moves:
            reached |= {t for (s, _), t in self.moves.items() if s in reached}
        return frozenset(type(self.initial)) - reached

    def mermaid(self) -> str:
        """The diagram kept in docs/lifecycles.md; a test compares them."""
        names = [f'    state "{_label(s)}" as {s.name}' for s in sorted(self.states)]
        rows = [f"    {s.name} --> {t.name}: {e.value}" for (s, e), t in self.moves.items()]
        ends = [f"    {s.name} --> [*]" for s in sorted(self.final)]
        start = f"    [*] --> {self.initial.name}"
        return "\n".join(["stateDiagram-v2", *names, start, *rows, *ends])


def _label(state: IntEnum | StrEnum) -> str:
    return f"{state.name} {state.value}"
