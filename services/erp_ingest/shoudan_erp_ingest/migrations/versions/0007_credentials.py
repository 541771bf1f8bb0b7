"""Credentials of partners: sealed secrets with their times, and who stored them."""

from shoudan_kit.credentials import first_tables

revision: str = "0007"
down_revision: str | None = "0006"


def upgrade() -> None:
    """Forward."""
    first_tables.create_tables()
