"""What statements repeat of tables, rows and states: taken from the Table, the dataclass, the enum."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from enum import IntEnum
from typing import Any, TypeVar, get_type_hints

from sqlalchemy import Table, TextClause
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

R = TypeVar("R")


def names_of(row: type[Any]) -> tuple[str, ...]:
    """The fields of a dataclass, in order: what to select for `reader`, and to give to `columns`."""
    return tuple(one.name for one in fields(row))


def reader(row: type[R]) -> Callable[[Sequence[Any]], R]:
    """Makes `row` of values in the order of its fields; numbers become its enums."""
    hints = get_type_hints(row)
    typed = [(at, hints[name]) for at, name in enumerate(names_of(row))]
    enums = [
        (at, kind) for at, kind in typed if isinstance(kind, type) and issubclass(kind, IntEnum)
    ]

    def read(values: Sequence[Any]) -> R:
        made = list(values)
        for at, kind in enums:
            made[at] = kind(made[at])
        return row(*made)

    return read


def types_of(table: Table, *names: str) -> dict[str, str]:
    """`unnest(**types_of(TABLE, "a", "b"))`: columns with their types, as the table declares them."""
    dialect = postgresql.dialect()
    return {name: table.c[name].type.compile(dialect).lower() for name in names}


def assigned(names: Iterable[str]) -> str:
    """`a = given.a, b = given.b`: the SET of an UPDATE from `unnest`."""
    return ", ".join(f"{name} = given.{name}" for name in names)


def numbers(states: Iterable[IntEnum]) -> str:
    """`20, 30`: states spelled out, as the condition of a partial index must be."""
    return ", ".join(str(int(state)) for state in sorted(set(states)))


async def returned(db: AsyncConnection, sql: TextClause, **binds: Any) -> set[Any]:
    """Run a statement; the values of its first column, such as the ids that moved."""
    return set((await db.execute(sql, binds)).scalars())
