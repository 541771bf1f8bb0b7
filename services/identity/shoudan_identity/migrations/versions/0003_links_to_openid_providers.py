"""Operators' links to persons of OpenID providers."""

from __future__ import annotations

from shoudan_kit.db.revising import (
    BIG,
    TEXT,
    TIME,
    check,
    column,
    index,
    refers,
    table,
)

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    table(
        "operator_link",
        column("issuer", TEXT, "OpenID provider, as it names itself"),
        column("subject", TEXT, "sub: the person at the provider"),
        column("operator_id", BIG, "whose"),
        column("create_time", TIME, "linked"),
        column("created_by", TEXT, "by whom"),
        check("operator_link_subject_form", "length(subject) BETWEEN 1 AND 255"),
        refers("operator_link_operator_id_fkey", ["operator_id"], ["operator.operator_id"]),
        key=["issuer", "subject"],
        comment="登录关联: who an operator is at an OpenID provider",
    )
    index("operator_link_operator", "operator_link", ["operator_id", "issuer"], unique=True)
