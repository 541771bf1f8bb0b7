"""What happens in a run, drawn from its seed before it begins: a list of steps, each with its moment."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

SERVICES: Final = ("order", "pay", "delivery")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is done."""

    number: int
    at_s: float
    what: str
    service: str = ""
    replica: int = 0
    size: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        """One line of a list."""
        facts = f"{self.service}-{self.replica}" if self.service else ""
        size = f" x{self.size}" if self.size else ""
        seconds = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.number:4} {self.at_s:8.2f}  {self.what} {facts}{size}{seconds}".rstrip()


@dataclass(frozen=True, slots=True)
class Size:
    """How much a run holds."""

    orders: int = 1_000
    batch: int = 50
    faults: int = 40
    seconds: float = 240.0
    operators: int = 120  # things that operators do, most of them once overtimes have come


LONGER: Final = 3.2  # until overtimes of 600 s have come
NEAR: Final = 0.6  # of the faults befall what has just begun
NEAR_S: Final = 0.4

# What may be done beside orders, with its weight.
KINDS: Final = (
    ("kill", 6),
    ("kill before a commit", 5),
    ("kill after a commit", 5),
    ("freeze", 3),
    ("refuse commits", 3),
    ("lose the answers of commits", 3),
    ("lose calls", 4),
    ("slow calls", 3),
    ("repeat calls", 3),
    ("lose messages", 2),
)


def plan(seed: int, size: Size) -> list[Step]:
    """The steps of a seed, by time."""
    dice = Random(f"plan {seed}")
    drawn: list[tuple[float, str, str, int, int, float]] = []
    for _ in range(size.orders // size.batch):
        at_s = dice.random() * size.seconds
        drawn.append((at_s, "order", "", 0, size.batch, 0.0))
        drawn.append((at_s + dice.random() * 60, "query", "", 0, size.batch // 2, 0.0))
        drawn.append((at_s + dice.random() * 200, "refund", "", 0, max(1, size.batch // 5), 0.0))
        drawn.append((at_s + dice.random() * 20, "order again", "", 0, size.batch // 10, 0.0))
    busy = [one[0] for one in drawn]
    drawn += [
        (dice.random() * size.seconds * LONGER, "operator", "", 0, 0, 0.0)
        for _ in range(size.operators)
    ]
    names = [name for name, weight in KINDS for _ in range(weight)]
    for _ in range(size.faults):
        what, service = dice.choice(names), dice.choice(SERVICES)
        seconds = dice.choice((1.0, 5.0, 30.0)) if what != "freeze" else dice.choice((3.0, 25.0))
        at_s = dice.random() * size.seconds
        if dice.random() < NEAR:
            at_s = dice.choice(busy) + dice.random() * NEAR_S
        drawn.append((at_s, what, service, dice.randint(1, 2), 0, seconds))
    return [Step(number, *one) for number, one in enumerate(sorted(drawn))]
