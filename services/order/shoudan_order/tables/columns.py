"""How columns of the order tables are declared: one short form per type, each with its comment."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    SmallInteger,
    Text,
    false,
    text,
)

from shoudan_order.states import YesNo


def key(name: str, comment: str) -> Column[int]:
    """A primary key made by us or by the caller."""
    return Column(name, BigInteger, primary_key=True, autoincrement=False, comment=comment)


def text_key(name: str, comment: str) -> Column[str]:
    """A primary key given by people."""
    return Column(name, Text, primary_key=True, comment=comment)


def number(name: str, comment: str) -> Column[int]:
    """An id of something else."""
    return Column(name, BigInteger, nullable=False, comment=comment)


def count(name: str, comment: str, default: int | None = None) -> Column[int]:
    """A whole number that is no money."""
    made = None if default is None else text(str(default))
    return Column(name, Integer, nullable=False, server_default=made, comment=comment)


def micros(name: str, comment: str, *, given: bool = False) -> Column[int]:
    """Money or face in micro-yuan; 0 unless it is always `given`."""
    made = None if given else text("0")
    return Column(name, BigInteger, nullable=False, server_default=made, comment=comment)


def ppm(name: str, comment: str) -> Column[int]:
    """A rate in parts per million."""
    return Column(name, BigInteger, nullable=False, server_default=text("0"), comment=comment)


def words(name: str, comment: str, default: str | None = "") -> Column[str]:
    """Text; empty rather than NULL."""
    made = None if default is None else text(f"'{default}'")
    return Column(name, Text, nullable=False, server_default=made, comment=comment)


def when(name: str, comment: str, *, null: bool = False) -> Column[Any]:
    """A moment in UTC."""
    return Column(name, DateTime(timezone=True), nullable=null, comment=comment)


def now(name: str, comment: str) -> Column[Any]:
    """The moment the row is made, by the database's clock."""
    made = text("shoudan_now()")
    return Column(
        name, DateTime(timezone=True), nullable=False, server_default=made, comment=comment
    )


def status(
    name: str, states: type[IntEnum], comment: str, default: int | None = None
) -> tuple[Column[int], CheckConstraint]:
    """A documented number, and the rule that only documented numbers are stored."""
    documented = ", ".join(str(s.value) for s in states)
    return _number(name, states, comment, default), holds(name, f"{name} IN ({documented})")


def yes_no(name: str, comment: str, default: int | None = None) -> Column[int]:
    """A documented yes (0) or no (1) of a table that checks several of them together."""
    return _number(name, YesNo, comment, default)


def _number(name: str, states: type[IntEnum], comment: str, default: int | None) -> Column[int]:
    said = " ".join(f"{s.value} {s.name.lower()}" for s in states)
    made = None if default is None else text(str(int(default)))
    return Column(
        name, SmallInteger, nullable=False, server_default=made, comment=f"{comment}: {said}"
    )


def fact(name: str, comment: str, *, given: bool = False) -> Column[bool]:
    """True or false; false unless it is always `given`."""
    made = None if given else false()
    return Column(name, Boolean, nullable=False, server_default=made, comment=comment)


def holds(name: str, rule: str) -> CheckConstraint:
    """A rule the database keeps."""
    return CheckConstraint(rule, name=name)


def moments(table: str, column: str) -> Index:
    """Rows of a period: a BRIN, summed up as the table grows and not only by the next vacuum."""
    return Index(
        f"{table}_{column}",
        column,
        postgresql_using="brin",
        postgresql_with={"autosummarize": "on"},
    )
