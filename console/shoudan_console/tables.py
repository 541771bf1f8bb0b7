"""Sessions of browsers and the views that operators save; nothing else is kept here."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

from shoudan_kit.db.foundation import NAMES, rights

METADATA: Final = MetaData(naming_convention=NAMES)
APPEND_ONLY: Final = ()


def _when(name: str, comment: str, *, null: bool = False) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=null, comment=comment)


Table(
    "console_session",
    METADATA,
    Column("session_hash", LargeBinary, primary_key=True, comment="SHA-256 of the cookie"),
    Column("operator_id", BigInteger, nullable=False, comment="whose"),
    Column("operator", Text, nullable=False, comment="login name"),
    Column("roles", ARRAY(Text), nullable=False, comment="for what is shown; services judge"),
    Column(
        "channels",
        ARRAY(Text),
        nullable=False,
        server_default=text("'{}'"),
        comment="of a partner's account: its channels; services judge",
    ),
    Column(
        "tokens_sealed",
        LargeBinary,
        nullable=False,
        comment="encrypted with a key that the cookie alone gives: the operator's tokens",
    ),
    _when("create_time", "logged in"),
    _when("use_time", "last request, to half a minute"),
    _when("end_time", "ends at the latest"),
    _when("prove_time", "password and code were given last", null=True),
    Index("console_session_end", "end_time"),
    Index("console_session_use", "use_time"),
    CheckConstraint("length(session_hash) = 32", name="hash_length"),
    comment="会话: browsers of operators",
    info=rights(update=("tokens_sealed", "use_time", "roles", "channels"), delete=True),
)

Table(
    "console_view",
    METADATA,
    Column("operator_id", BigInteger, primary_key=True, autoincrement=False, comment="whose"),
    Column("page", Text, primary_key=True, comment="the list it is of"),
    Column("name", Text, primary_key=True, comment="as the operator calls it"),
    Column("query", Text, nullable=False, comment="filters, as in the address"),
    _when("create_time", "saved"),
    CheckConstraint("length(page) BETWEEN 1 AND 40", name="page_length"),
    CheckConstraint("length(name) BETWEEN 1 AND 60", name="name_length"),
    CheckConstraint("length(query) <= 2000", name="query_length"),
    comment="视图: filters of lists that an operator saved",
    info=rights(update=("query", "create_time"), delete=True),
)

Table(
    "console_assignment",
    METADATA,
    Column("service", Text, primary_key=True, comment="where it waits"),
    Column("kind", Text, primary_key=True, comment="what kind of thing"),
    Column("key", Text, primary_key=True, comment="its number within the kind"),
    Column("operator_id", BigInteger, nullable=False, comment="who works on it"),
    Column("operator", Text, nullable=False, comment="login name"),
    _when("create_time", "since when"),
    Index("console_assignment_operator", "operator_id", "create_time"),
    CheckConstraint("length(service) BETWEEN 1 AND 40", name="service_length"),
    CheckConstraint("length(kind) BETWEEN 1 AND 40", name="kind_length"),
    CheckConstraint("length(key) BETWEEN 1 AND 64", name="key_length"),
    comment="认领: who works on what waits for a person; a note among operators, no right",
    info=rights(update=("operator_id", "operator", "create_time"), delete=True),
)
