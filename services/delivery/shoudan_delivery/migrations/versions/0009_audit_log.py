"""The audit log: rows, which of them are in no block yet, and the blocks."""

from shoudan_kit.audit_log import first_tables

revision: str = "0009"
down_revision: str | None = "0008"


def upgrade() -> None:
    """Forward."""
    first_tables.create_tables()
