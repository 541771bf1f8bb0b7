"""Which signed statements of the ledger were made."""

import sqlalchemy as sa

from shoudan_kit.db.revising import (
    BIG,
    BYTES,
    TIME,
    check,
    column,
    table,
)

revision: str = "0007"
down_revision: str | None = "0006"


def upgrade() -> None:
    """Forward."""
    table(
        "ledger_statement",
        column("statement_no", BIG, "from 1 without gaps"),
        column("day", sa.Date(), "day it was made, Asia/Shanghai"),
        column("hash", BYTES, "SHA-256 of its signed line; the next statement quotes it"),
        column("create_time", TIME, "创建时间"),
        check("ledger_statement_number", "statement_no > 0"),
        key=["statement_no"],
        comment="账本签名声明: signed statements of the ledger that were made, append-only",
    )
