"""Proposals: calls that wait for a second operator."""

from shoudan_kit.proposals import first_tables

revision: str = "0016"
down_revision: str | None = "0015"


def upgrade() -> None:
    """Forward."""
    first_tables.create_tables()
