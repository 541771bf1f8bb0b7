"""The next map as a file: the text of the one before, with its epoch and ranges replaced."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from shoudan_kit.db.shard_map import OWN, Home, ShardMap, ShardMapInvalid, parse

_EPOCH: Final = re.compile(r"(?m)^(\s*epoch\s*=\s*)\d+")
_RANGES: Final = "[[ranges]]"


class NotEdited(Exception):
    """The file is written in a way that cannot be edited safely."""


def edited(text: str, after: ShardMap) -> str:
    """The file that says `after`; servers, comments and their order stay. Raises NotEdited."""
    placed = {one.server for one in after.homes}
    emptied = set(after.urls) - placed - {OWN}
    lines = _EPOCH.sub(rf"\g<1>{after.epoch}", text, count=1).splitlines()
    kept = list(_with_spares(list(_without_ranges(lines)), emptied))
    while kept and not kept[-1].strip():
        kept.pop()
    ranges = (
        f'\n{_RANGES}\nshards = "{which}"\nserver = "{name}"' for which, name in _runs(after.homes)
    )
    made = "\n".join([*kept, *ranges]) + "\n"
    try:
        found = parse(made, *after.urls[OWN], owner=True)
    except ShardMapInvalid as error:
        raise NotEdited(f"the map cannot be edited by the command: {error}") from None
    if found.homes != after.homes:
        raise NotEdited(
            "the map cannot be edited by the command: its form is not the documented one"
        )
    return made


def replace_file(path: Path, text: str | bytes) -> None:
    """Write the file at once: readers see the old one or the new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(text.encode() if isinstance(text, str) else text)
    if path.exists():
        draft.chmod(path.stat().st_mode & 0o777)
    draft.replace(path)


def spread(homes: Sequence[Home], servers: Sequence[str]) -> list[tuple[int, str, str]]:
    """The fewest moves that give each of these servers as many shards as any other, or one less: shard, from,
    to. The first shard stays where it is."""
    held: dict[str, list[int]] = {name: [] for name in servers}
    loose: list[tuple[int, str]] = []
    for one in homes:
        if one.server in held:
            held[one.server].append(one.shard)
        else:
            loose.append((one.shard, one.server))
    least, more = divmod(len(homes), len(servers))
    by_count = sorted(servers, key=lambda name: -len(held[name]))
    wanted = {name: least + (n < more) for n, name in enumerate(by_count)}
    for name, shards in held.items():
        spare = len(shards) - wanted[name]
        movable = [one for one in reversed(shards) if one]
        loose += [(shard, name) for shard in movable[: max(spare, 0)]]
    moves: list[tuple[int, str, str]] = []
    for shard, name in sorted(loose):
        free = (n for n in servers if n != name and _count(moves, held, n) < wanted[n])
        moves.append((shard, name, next(free)))
    return moves


def _count(moves: Sequence[tuple[int, str, str]], held: dict[str, list[int]], name: str) -> int:
    """How many shards a server has after these moves, without those that have yet to leave it."""
    return len(held[name]) + sum(to == name for _, _, to in moves)


def _without_ranges(lines: Sequence[str]) -> Iterator[str]:
    inside = False
    for line in lines:
        head = line.strip()
        if head.startswith("["):
            inside = head.startswith(_RANGES)
        if not inside or head.startswith("#"):
            yield line


def _with_spares(lines: Sequence[str], emptied: set[str]) -> Iterator[str]:
    """Servers that hold nothing any more say so."""
    for n, line in enumerate(lines):
        yield line
        name = line.strip().removeprefix("[servers.").removesuffix("]")
        if name in emptied and line.strip().startswith("[servers."):
            block = lines[n + 1 :]
            end = next(
                (k for k, one in enumerate(block) if one.strip().startswith("[")), len(block)
            )
            if not any(one.strip().startswith("spare") for one in block[:end]):
                yield "spare = true"


def _runs(homes: Sequence[Home]) -> Iterator[tuple[str, str]]:
    """Neighbours on one server as a range."""
    first = 0
    for n, one in enumerate(homes):
        if n + 1 == len(homes) or homes[n + 1].server != one.server:
            yield (str(first) if first == n else f"{first}-{n}"), one.server
            first = n + 1
