"""Lifecycles as pictures for the partners' pages: SVG from the machines that run, a state below the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from html import escape
from typing import Any, Final

from shoudan_kit.state_machine import Machine

LEFT, TOP, WIDTH, HEIGHT, GAP = 8, 10, 190, 34, 44
BEND: Final = 46  # pixels to the right for each state that an arrow passes
TIP: Final = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
    'orient="auto">'
    '<path d="M0 0 8 4 0 8z" fill="currentColor"/></marker></defs>'
)
TEXT: Final = 7  # pixels of a character of the label, about


@dataclass(frozen=True, slots=True)
class Arrow:
    """From one state to another, with the events that lead there."""

    source: int
    target: int
    label: str


def svg(machine: Machine[Any, Any], words: Mapping[str, str], title: str) -> str:
    """The picture; `words` by the names of states and events. Follows the colours of its page."""
    order = _order(machine)
    place = {state: number for number, state in enumerate(order)}
    arrows = _arrows(machine, place, words)
    reach = max((abs(one.target - one.source) for one in arrows), default=1)
    longest = max((len(one.label) for one in arrows), default=0)
    width = LEFT + WIDTH + 20 + reach * BEND + longest * TEXT * 2
    height = TOP * 2 + len(order) * HEIGHT + (len(order) - 1) * GAP
    parts = [
        (
            f'<svg class="states" viewBox="0 0 {width} {height}" width="{width}" role="img" '
            f'aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg">'
        ),
        TIP,
    ]
    parts += [_box(state, place[state], words, final=state in machine.final) for state in order]
    parts += [_drawn(one) for one in arrows]
    return "".join([*parts, "</svg>"])


def _order(machine: Machine[Any, Any]) -> list[Any]:
    """States as they are reached, final ones last."""
    found = [machine.initial]
    for state in found:
        found += [t for (s, _), t in machine.moves.items() if s == state and t not in found]
    final = machine.final
    return [one for one in found if one not in final] + [one for one in found if one in final]


def _arrows(
    machine: Machine[Any, Any], place: Mapping[Any, int], words: Mapping[str, str]
) -> list[Arrow]:
    labels: dict[tuple[int, int], list[str]] = {}
    for (source, event), target in machine.moves.items():
        if source in place and source is not target:
            label = words.get(event.value, event.value)
            labels.setdefault((place[source], place[target]), []).append(label)
    return [Arrow(*ends, " / ".join(dict.fromkeys(found))) for ends, found in labels.items()]


def _middle(number: int) -> int:
    return TOP + number * (HEIGHT + GAP) + HEIGHT // 2


def _box(state: IntEnum | StrEnum, number: int, words: Mapping[str, str], *, final: bool) -> str:
    value = f"{state.value}" if isinstance(state, IntEnum) else ""
    shown = f"{words.get(state.name, state.name)} {value}".strip()
    y, stroke = _middle(number) - HEIGHT // 2, 2.5 if final else 1
    return (
        f'<rect x="{LEFT}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="none" '
        f'stroke="currentColor" stroke-width="{stroke}"/>'
        f'<text x="{LEFT + WIDTH // 2}" y="{y + HEIGHT // 2 + 5}" text-anchor="middle" '
        f'fill="currentColor">{escape(shown)}</text>'
    )


def _drawn(arrow: Arrow) -> str:
    down = arrow.target > arrow.source
    start, end = _middle(arrow.source) + (6 if down else -6), _middle(arrow.target)
    end += -6 if down else 6
    x, bend = LEFT + WIDTH, abs(arrow.target - arrow.source) * BEND
    apex = (start + end) // 2
    return (
        f'<path d="M{x} {start}C{x + bend * 4 // 3} {start} {x + bend * 4 // 3} {end} {x + 3} {end}" '
        'fill="none" stroke="currentColor" marker-end="url(#tip)"/>'
        f'<text x="{x + bend + 6}" y="{apex + 4}" font-size="12" fill="currentColor">'
        f"{escape(arrow.label)}</text>"
    )
