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
    rows = {int(one.name): _stat(one) for one in Path("/proc").iterdir() if one.name.isdigit()}
    return {name: _below(pid, rows) / _TICKS_PER_S for name, pid in roots.items()}


def _below(root: int, rows: Mapping[int, tuple[int, int, int]]) -> int:
    below = {root}
    # Each round finds the next generation, so this ends.
    while grown := {pid for pid, row in rows.items() if row[0] in below} - below:
        below |= grown
    ended = rows[root][2] if root in rows else 0
    return ended + sum(rows[pid][1] for pid in below if pid in rows)


def _stat(process: Path) -> tuple[int, int, int]:
    """Parent, own ticks, ticks of ended children; nothing when it has just ended."""
    try:
        words = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return -1, 0, 0
    user, system, child_user, child_system = map(int, words[11:15])
    return int(words[1]), user + system, child_user + child_system
