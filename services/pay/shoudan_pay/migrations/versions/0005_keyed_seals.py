"""Records are sealed under a key; their column says so."""

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"


def upgrade() -> None:
    """Forward; only a comment, the seals themselves tell how they were made."""
    op.alter_column(
        "account_record",
        "hash",
        existing_type=sa.LargeBinary(),
        existing_nullable=False,
        comment="key id and HMAC-SHA-256 over the previous record's hash and this row",
        existing_comment="SHA-256 over the previous record's hash and this row",
    )
