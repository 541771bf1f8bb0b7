"""Which signed statements of the ledger were made."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "ledger_statement",
        sa.Column(
            "statement_no",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="from 1 without gaps",
        ),
        sa.Column("day", sa.Date(), nullable=False, comment="day it was made, Asia/Shanghai"),
        sa.Column(
            "hash",
            sa.LargeBinary(),
            nullable=False,
            comment="SHA-256 of its signed line; the next statement quotes it",
        ),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, comment="创建时间"),
        sa.CheckConstraint("statement_no > 0", name=op.f("ledger_statement_number")),
        sa.PrimaryKeyConstraint("statement_no", name=op.f("ledger_statement_pkey")),
        comment="账本签名声明: signed statements of the ledger that were made, append-only",
    )
