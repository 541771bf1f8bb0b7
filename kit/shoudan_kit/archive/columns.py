"""Columns in two engines: how PostgreSQL writes a value for DuckDB, and a text of it that both agree on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_SAME: Final = {
    "bigint": "BIGINT",
    "integer": "INTEGER",
    "smallint": "SMALLINT",
    "boolean": "BOOLEAN",
    "timestamp with time zone": "TIMESTAMPTZ",
    "date": "DATE",
    "bytea": "BLOB",
}
_DECIMAL: Final = re.compile(r"numeric\((\d+),(\d+)\)")
_ABSENT: Final = r"'\N'"
_BETWEEN: Final = "chr(31)"


@dataclass(frozen=True, slots=True)
class Column:
    """A column by its name and PostgreSQL's name of its type."""

    name: str
    type: str

    @property
    def stored_as(self) -> str:
        """DuckDB's type; what it has no like of is stored as the text PostgreSQL writes."""
        if found := _DECIMAL.fullmatch(self.type):
            return f"DECIMAL({found[1]},{found[2]})"
        return _SAME.get(self.type, "VARCHAR")

    @property
    def read_as(self) -> str:
        """DuckDB's type of what COPY writes."""
        return "VARCHAR" if self.stored_as == "BLOB" else self.stored_as

    @property
    def loaded(self) -> str:
        """What COPY wrote, as DuckDB stores it."""
        name = quoted(self.name)
        return f"unhex(substr({name}, 3)) AS {name}" if self.stored_as == "BLOB" else name

    @property
    def in_postgres(self) -> str:
        """The text that is hashed."""
        name = quoted(self.name)
        match self.stored_as:
            case "BOOLEAN":
                text = f"CAST(CAST({name} AS int) AS text)"
            case "TIMESTAMPTZ":
                text = f"CAST(CAST(extract(epoch FROM {name}) * 1000000 AS bigint) AS text)"
            case "BLOB":
                text = f"encode({name}, 'hex')"
            case _:
                text = f"CAST({name} AS text)"
        return f"coalesce({text}, {_ABSENT})"

    @property
    def in_duckdb(self) -> str:
        """The same text."""
        name = quoted(self.name)
        match self.stored_as:
            case "BOOLEAN":
                text = f"CAST(CAST({name} AS INTEGER) AS VARCHAR)"
            case "TIMESTAMPTZ":
                text = f"CAST(epoch_us({name}) AS VARCHAR)"
            case "BLOB":
                text = f"lower(hex({name}))"
            case _:
                text = f"CAST({name} AS VARCHAR)"
        return f"coalesce({text}, {_ABSENT})"


def quoted(name: str) -> str:
    """An identifier in both engines."""
    return '"' + name.replace('"', '""') + '"'


def postgres_sum(columns: Sequence[Column]) -> str:
    """How many rows there are and the sum of their hashes, whatever their order: two columns."""
    text = f"concat_ws({_BETWEEN}, {', '.join(one.in_postgres for one in columns)})"
    number = f"CAST(CAST('x' || substr(md5({text}), 1, 8) AS bit(32)) AS bigint)"
    return f"count(*), CAST(coalesce(sum({number} & 4294967295), 0) AS text)"


def duckdb_sum(columns: Sequence[Column]) -> str:
    """The same two of the rows in a file."""
    text = f"concat_ws({_BETWEEN}, {', '.join(one.in_duckdb for one in columns)})"
    number = f"CAST('0x' || substr(md5({text}), 1, 8) AS BIGINT)"
    return f"count(*), CAST(coalesce(sum({number}), 0) AS VARCHAR)"
