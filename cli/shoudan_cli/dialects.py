"""Translates tables declared for PostgreSQL to MySQL and Oracle, and lists what they cannot express."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, cast

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Sequence,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import mysql, oracle, postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import ARRAY, TypeEngine

from shoudan_kit.db.foundation import copied_name

# Room for a text that is a key: five of them with utf8mb4 stay below InnoDB's 3072 bytes.
KEY_CHARS: Final = 128
KEY_BYTES: Final = 255
# Oracle's VARCHAR2 ends at 4000 bytes unless the server was set up otherwise; longer texts are CLOBs.
ORACLE_CHARS_MAX: Final = 1000
NOW: Final = "shoudan_now()"
# Words Oracle reserves that SQLAlchemy does not know as such.
ORACLE_RESERVED: Final = frozenset(
    (
        *("access", "add", "audit", "column", "column_value", "file", "immediate", "increment"),
        *(
            "initial",
            "maxextents",
            "mlslabel",
            "modify",
            "nested_table_id",
            "noaudit",
            "offline",
            "online",
        ),
        *("row", "rowid", "rownum", "rows", "session", "successful", "sysdate", "validate"),
        *("whenever",),
    )
)

_QUOTED: Final = re.compile(r"('(?:[^']|'')*')")
_MODULO: Final = re.compile(r"(\w+) % (\w+)")


def dialect_of(name: str) -> Dialect:
    """The dialect to compile for; a paramstyle without percent signs keeps those of the rules single."""
    found: Any = {"postgresql": postgresql, "mysql": mysql, "oracle": oracle}[name]
    made = cast("Dialect", found.dialect(paramstyle="named"))
    if name == "oracle":
        # An attribute of its own, so that SQLAlchemy's shared set stays as it is.
        preparer = made.identifier_preparer
        preparer.reserved_words = set(preparer.reserved_words) | ORACLE_RESERVED
    return made


@dataclass(slots=True)
class Translation:
    """The same tables in other words, and by table what could not be said."""

    metadata: MetaData
    missing: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def note(self, table: str, what: str) -> None:
        """Remember something left out."""
        self.missing.setdefault(table, []).append(what)


def translated(source: MetaData, name: str) -> Translation:
    """`source` for "mysql" or "oracle"; PostgreSQL's own is given back as it is."""
    if name == "postgresql":
        return Translation(source)
    words = Words(name)
    translation = Translation(MetaData(naming_convention=source.naming_convention))
    for table in source.sorted_tables:
        words.translate(table, translation)
    return translation


def keyed_columns(table: Table) -> set[str]:
    """Columns some key, reference or index needs, so that their length must be bounded."""
    bound = (PrimaryKeyConstraint, UniqueConstraint, ForeignKeyConstraint)
    found = {c.name for k in table.constraints if isinstance(k, bound) for c in k.columns}
    referred = {
        key.column.name
        for other in table.metadata.tables.values()
        for key in other.foreign_keys
        if key.column.table is table
    }
    return found | referred | {c.name for index in table.indexes for c in index.columns}


class Words:
    """One dialect's types, defaults and rules."""

    def __init__(self, name: str) -> None:
        self.name, self._dialect = name, dialect_of(name)
        self._quote = self._dialect.identifier_preparer.quote

    def translate(self, table: Table, translation: Translation) -> None:
        """Add `table` in this dialect's words."""
        keyed = keyed_columns(table)
        columns = [self._column(c, keyed=c.name in keyed) for c in table.columns]
        made = Table(
            copied_name(table),
            translation.metadata,
            *columns,
            comment=table.comment,
            **self._options(table),
        )
        for rule in sorted(table.constraints, key=lambda one: str(one.name)):
            self._constrain(table, rule, made, translation)
        self._index(table, made, translation)

    def _options(self, table: Table) -> dict[str, Any]:
        if self.name != "mysql":
            return {}
        first = next((one.start for one in _sequences(table) if one.start), None)
        return {
            "mysql_engine": "InnoDB",
            "mysql_charset": "utf8mb4",
            "mysql_collate": "utf8mb4_bin",  # PostgreSQL tells cases apart, too
            **({} if first is None else {"mysql_auto_increment": str(first)}),
        }

    # ------------------------------------------------------------ columns

    def _column(self, column: Column[Any], *, keyed: bool) -> Column[Any]:
        kind = self._type(column.type, keyed=keyed)
        default = self._default(column, kind)
        counter = [default] if isinstance(default, Identity | Sequence) else []
        plain: Any = None if counter else default
        if isinstance(default, Sequence):
            plain = default.next_value()
        counted = _counts(column) and not isinstance(default, Sequence)
        # To Oracle the empty text is NULL, so what may be empty cannot be NOT NULL.
        null = column.nullable or (
            self.name == "oracle" and _is_text(column) and not column.primary_key
        )
        return Column(
            column.name,
            kind,
            *counter,
            primary_key=column.primary_key,
            autoincrement=counted,
            nullable=null,
            server_default=plain,
            comment=column.comment,
        )

    def _type(self, kind: TypeEngine[Any], *, keyed: bool) -> TypeEngine[Any]:
        if self.name == "mysql":
            return _mysql_type(kind, keyed=keyed)
        return _oracle_type(kind, keyed=keyed)

    def _default(self, column: Column[Any], kind: TypeEngine[Any]) -> Any:
        if _counts(column):
            if self.name == "mysql":
                return None
            return next(iter(_sequences_of(column)), Identity())
        given = column.server_default
        if given is None:
            return None
        words = str(getattr(given, "arg", given))
        if words == NOW:
            here = {"mysql": "CURRENT_TIMESTAMP(6)", "oracle": "SYS_EXTRACT_UTC(SYSTIMESTAMP)"}
            return text(here[self.name])
        if words in {"true", "false"} and self.name == "oracle":
            return text(str(int(words == "true")))
        if _is_text(column):
            return self._text_default(words, kind)
        return text(words)

    def _text_default(self, words: str, kind: TypeEngine[Any]) -> Any:
        quoted = words if words.startswith("'") else f"'{words}'"
        if self.name == "oracle":
            return None if quoted == "''" else text(quoted)
        # MySQL takes a default of a long text only as an expression.
        return text(f"({quoted})") if isinstance(kind, mysql.LONGTEXT) else text(quoted)

    # ------------------------------------------------------------ rules and indexes

    def _constrain(self, table: Table, rule: Any, made: Table, translation: Translation) -> None:
        names = [c.name for c in getattr(rule, "columns", ())]
        if isinstance(rule, UniqueConstraint):
            made.append_constraint(UniqueConstraint(*names, name=rule.name))
        elif isinstance(rule, ForeignKeyConstraint):
            targets = [f"{copied_name(e.column.table)}.{e.column.name}" for e in rule.elements]
            made.append_constraint(ForeignKeyConstraint(names, targets, name=rule.name))
        elif isinstance(rule, CheckConstraint):
            words = self._rule(table, str(rule.sqltext))
            if words is None:
                translation.note(made.name, f"CHECK {rule.name} ({rule.sqltext}): no word for it")
            else:
                made.append_constraint(CheckConstraint(words, name=rule.name))

    def _rule(self, table: Table, words: str) -> str | None:
        """A rule in this dialect's words; None for one it cannot say."""
        if "ARRAY[" in words:
            return None
        if self.name == "oracle":
            truths = {c.name for c in table.columns if isinstance(c.type, Boolean)}
            if truths & set(re.findall(r"\w+", words)) or ") = (" in words:
                return None
            words = _MODULO.sub(r"MOD(\1, \2)", words)
        reserved = {c.name for c in table.columns if self._quote(c.name) != c.name}
        parts = _QUOTED.split(words)
        parts[::2] = [self._quoted(part, reserved) for part in parts[::2]]
        return "".join(parts)

    def _quoted(self, words: str, reserved: set[str]) -> str:
        for name in reserved:
            words = re.sub(rf"\b{name}\b", self._quote(name), words)
        return words

    def _index(self, table: Table, made: Table, translation: Translation) -> None:
        bound = (PrimaryKeyConstraint, UniqueConstraint)
        there = [[c.name for c in k.columns] for k in table.constraints if isinstance(k, bound)]
        for index in sorted(table.indexes, key=lambda one: str(one.name)):
            names = [c.name for c in index.columns]
            where: Any = index.dialect_options["postgresql"]["where"]
            shown = f"INDEX {index.name} ({', '.join(names)})"
            if where is not None:
                shown += f" WHERE {where}"
            if where is not None and index.unique:
                translation.note(made.name, f"UNIQUE {shown}: no index over some rows alone")
            elif names in there:
                translation.note(made.name, f"{shown}: another key has the same columns")
            else:
                if where is not None:
                    translation.note(made.name, f"{shown}: made over all rows")
                there.append(names)
                Index(index.name, *(made.c[name] for name in names), unique=index.unique)


def _mysql_type(kind: TypeEngine[Any], *, keyed: bool) -> TypeEngine[Any]:
    if isinstance(kind, ARRAY | JSON):
        return mysql.JSON()
    if isinstance(kind, DateTime):
        return mysql.DATETIME(fsp=6)  # UTC; TIMESTAMP ends in 2038
    if isinstance(kind, LargeBinary):
        return mysql.VARBINARY(KEY_BYTES) if keyed else mysql.LONGBLOB()
    if isinstance(kind, Text) or (
        isinstance(kind, String) and (kind.length or 0) > ORACLE_CHARS_MAX
    ):
        return mysql.VARCHAR(KEY_CHARS) if keyed else mysql.LONGTEXT()
    return kind


def _oracle_type(kind: TypeEngine[Any], *, keyed: bool) -> TypeEngine[Any]:
    if isinstance(kind, ARRAY | JSON):
        return oracle.CLOB()
    if isinstance(kind, DateTime):
        return oracle.TIMESTAMP()  # UTC, six decimals
    if isinstance(kind, LargeBinary):
        return oracle.RAW(KEY_BYTES) if keyed else oracle.BLOB()
    if isinstance(kind, Text):
        return oracle.VARCHAR2(KEY_CHARS) if keyed else oracle.CLOB()
    if isinstance(kind, String):
        long = (kind.length or 0) > ORACLE_CHARS_MAX
        return oracle.CLOB() if long and not keyed else oracle.VARCHAR2(kind.length)
    for number, digits in ((Boolean, 1), (SmallInteger, 5), (BigInteger, 19), (Integer, 10)):
        if isinstance(kind, number):
            return oracle.NUMBER(digits)
    return kind


def _is_text(column: Column[Any]) -> bool:
    return isinstance(column.type, String)


def _counts(column: Column[Any]) -> bool:
    """Whether the database numbers the rows."""
    return column.identity is not None or bool(list(_sequences_of(column)))


def _sequences_of(column: Column[Any]) -> Iterator[Sequence]:
    if isinstance(column.default, Sequence):
        yield Sequence(column.default.name, start=column.default.start)


def _sequences(table: Table) -> Iterator[Sequence]:
    for column in table.columns:
        yield from _sequences_of(column)
