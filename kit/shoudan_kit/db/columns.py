"""Columns are declared once: short forms with a comment, checks of states, types for arrays, rows by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from enum import IntEnum, StrEnum
from operator import itemgetter
from typing import Any, Final, Generic, TypeVar, get_type_hints

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    TextClause,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.text_statements import Row

T = TypeVar("T")

# Subclasses first: SmallInteger and BigInteger are Integers. Text without its length: CAST to a length cuts.
_TYPES: Final[Mapping[type[Any], str]] = {
    SmallInteger: "smallint",
    BigInteger: "bigint",
    Integer: "integer",
    String: "text",
    Boolean: "boolean",
    LargeBinary: "bytea",
    DateTime: "timestamptz",
    Date: "date",
}


def column(
    name: str, kind: Any, comment: str, *args: Any, key: bool = False, **options: Any
) -> Column[Any]:
    """A column that is never NULL; `key`: of the primary key, given by the caller."""
    if key:
        options |= {"primary_key": True, "autoincrement": False}
    return Column(name, kind, *args, nullable=False, comment=comment, **options)


def maybe(name: str, kind: Any, comment: str, *args: Any, **options: Any) -> Column[Any]:
    """A column that may be NULL."""
    return Column(name, kind, *args, comment=comment, **options)


def moment(name: str, comment: str, *, null: bool = False) -> Column[Any]:
    """A moment in UTC."""
    return Column(name, DateTime(timezone=True), nullable=null, comment=comment)


def literal(value: IntEnum | StrEnum | int | str) -> str:
    """A number or a word as it stands in SQL, for statements and constraints built at import."""
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(int(value))


def literals(values: Iterable[IntEnum | StrEnum | int | str]) -> str:
    """`1, 2` or `'a', 'b'`: what stands in `status IN (…)`."""
    return ", ".join(map(literal, values))


def one_of(name: str, values: Iterable[IntEnum | StrEnum | int | str]) -> CheckConstraint:
    """Only these values are stored in the column; the constraint has its name."""
    return CheckConstraint(f"{name} IN ({literals(values)})", name=name)


def types(table: Table, *names: str) -> dict[str, str]:
    """PostgreSQL's types of columns by name: `unnest(**types(PAY_ORDER, "uuid", "amount_micros"))`."""
    return {name: _type(table.c[name]) for name in names}


def _type(of: Column[Any]) -> str:
    return next(word for kind, word in _TYPES.items() if isinstance(of.type, kind))


def names_of(kind: type[Any]) -> tuple[str, ...]:
    """The fields of a dataclass or Struct, in order."""
    struct: tuple[str, ...] = getattr(kind, "__struct_fields__", ())
    return struct or tuple(one.name for one in fields(kind))


def assigned(names: Iterable[str]) -> str:
    """`a = given.a, b = given.b`: the SET of an UPDATE from `unnest`."""
    return ", ".join(f"{name} = given.{name}" for name in names)


async def returned(db: AsyncConnection, sql: TextClause, **binds: Any) -> set[Any]:
    """Run a statement; the values of its first column, such as the ids that moved."""
    return set((await db.execute(sql, binds)).scalars())


class Rows(Generic[T]):
    """Rows as values of a class: every field from the column of its name, numbers as its enums."""

    __slots__ = ("_enums", "_get", "_kind", "names")

    def __init__(self, kind: type[T]) -> None:
        """`kind`: a dataclass or a Struct of at least two fields."""
        self.names = names_of(kind)
        self._kind = kind
        self._get: Callable[[Any], tuple[Any, ...]] = itemgetter(*self.names)
        hints = get_type_hints(kind)
        typed = [(at, hints[name]) for at, name in enumerate(self.names)]
        self._enums = [
            (at, hint) for at, hint in typed if isinstance(hint, type) and issubclass(hint, IntEnum)
        ]

    def of(self, alias: str = "") -> str:
        """The columns, for SELECT and RETURNING; of the table `alias` if one is given."""
        return ", ".join(f"{alias}.{name}" if alias else name for name in self.names)

    def read(self, row: Any) -> T:
        """One row."""
        values = list(self._get(row))
        for at, enum in self._enums:
            values[at] = enum(values[at])
        return self._kind(*values)

    def all(self, rows: Iterable[Any]) -> list[T]:
        """Every row."""
        given = list(rows)
        # A batch whose columns begin with ours, in our order, is read by position: a quarter of the cost.
        kind, size = self._kind, len(self.names)
        as_ours = bool(given) and isinstance(given[0], Row) and not self._enums
        if as_ours and tuple(given[0].keys())[:size] == self.names:
            return [kind(*row[:size]) for row in given]
        return [self.read(row) for row in given]

    def one(self, rows: Any) -> T | None:
        """The only row of a result, None when there is none. Raises MultipleResultsFound."""
        row = rows.one_or_none()
        return None if row is None else self.read(row)
