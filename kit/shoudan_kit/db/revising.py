"""What revisions are written with: columns, keys and indexes, each with the name that PostgreSQL gives it.

Frozen, as revisions are: what changes here changes no statement of a revision that exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from alembic import op

SMALL: Final = sa.SmallInteger()
INT: Final = sa.Integer()
BIG: Final = sa.BigInteger()
BOOL: Final = sa.Boolean()
TEXT: Final = sa.Text()
BYTES: Final = sa.LargeBinary()
DATE: Final = sa.Date()
TIME: Final = sa.DateTime(timezone=True)


def column(
    name: str, kind: Any, comment: str, *, null: bool = False, default: str | None = None
) -> sa.Column[Any]:
    """A column; `default` is SQL. Numbers are made by the process, never by the database."""
    value = None if default is None else sa.text(default)
    return sa.Column(
        name, kind, nullable=null, autoincrement=False, server_default=value, comment=comment
    )


def check(name: str, rule: str) -> sa.CheckConstraint:
    """A rule of rows, by its whole name."""
    return sa.CheckConstraint(rule, name=sa.schema.conv(name))


def refers(name: str, columns: Sequence[str], to: Sequence[str]) -> sa.ForeignKeyConstraint:
    """A foreign key, by its whole name."""
    return sa.ForeignKeyConstraint(columns, to, name=sa.schema.conv(name))


def unique(name: str, *columns: str) -> sa.UniqueConstraint:
    """A second key, by its whole name."""
    return sa.UniqueConstraint(*columns, name=sa.schema.conv(name))


def table(
    name: str,
    *parts: sa.schema.SchemaItem,
    key: Sequence[str],
    comment: str,
    storage: dict[str, str] | None = None,
    partition_by: str | None = None,
) -> None:
    """A table with its primary key and its storage parameters."""
    primary = sa.PrimaryKeyConstraint(*key, name=sa.schema.conv(f"{name}_pkey"))
    op.create_table(
        name,
        *parts,
        primary,
        comment=comment,
        postgresql_with=storage or {},
        postgresql_partition_by=partition_by,
    )


def index(
    name: str,
    on: str,
    columns: Sequence[str | sa.TextClause],
    *,
    unique: bool = False,
    where: str | None = None,
    using: str | None = None,
) -> None:
    """An index of a table that nothing uses yet; of all rows without `where`."""
    rows = None if where is None else sa.text(where)
    op.create_index(
        sa.schema.conv(name),
        on,
        columns,
        unique=unique,
        postgresql_where=rows,
        postgresql_using=using,
    )
