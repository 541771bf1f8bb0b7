"""Operators' links to persons of OpenID providers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "operator_link",
        sa.Column(
            "issuer", sa.Text(), nullable=False, comment="OpenID provider, as it names itself"
        ),
        sa.Column("subject", sa.Text(), nullable=False, comment="sub: the person at the provider"),
        sa.Column("operator_id", sa.BigInteger(), nullable=False, comment="whose"),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, comment="linked"),
        sa.Column("created_by", sa.Text(), nullable=False, comment="by whom"),
        sa.CheckConstraint(
            "length(subject) BETWEEN 1 AND 255", name=op.f("operator_link_subject_form")
        ),
        sa.ForeignKeyConstraint(
            ["operator_id"],
            ["operator.operator_id"],
            name=op.f("operator_link_operator_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("issuer", "subject", name=op.f("operator_link_pkey")),
        comment="登录关联: who an operator is at an OpenID provider",
    )
    op.create_index(
        op.f("operator_link_operator"), "operator_link", ["operator_id", "issuer"], unique=True
    )
