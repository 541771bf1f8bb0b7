"""CPU seconds of processes with everything below them, as the kernel counts them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")

Usage = float


def usage(roots: Mapping[str, int]) -> dict[str, Usage]:
    """Seconds spent so far by each named process, its children and its ended children."""
    rows = _rows()
    return {name: _spent(pid, rows) / _TICKS_PER_S for name, pid in roots.items()}


def below(root: int) -> set[int]:
    """A process and everything that it started, directly or not."""
    return _family(root, _rows())


def _rows() -> dict[int, tuple[int, int, int]]:
    return {int(one.name): _stat(one) for one in Path("/proc").iterdir() if one.name.isdigit()}


def _family(root: int, rows: Mapping[int, tuple[int, int, int]]) -> set[int]:
    found = {root}
    # Each round finds the next generation, so this ends.
    while grown := {pid for pid, row in rows.items() if row[0] in found} - found:
        found |= grown
    return found


def _spent(root: int, rows: Mapping[int, tuple[int, int, int]]) -> int:
    ended = rows[root][2] if root in rows else 0
    return ended + sum(rows[pid][1] for pid in _family(root, rows) if pid in rows)


def _stat(process: Path) -> tuple[int, int, int]:
    """Parent, own ticks, ticks of ended children; nothing when it has just ended."""
    try:
        words = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return -1, 0, 0
    user, system, child_user, child_system = map(int, words[11:15])
    return int(words[1]), user + system, child_user + child_system
