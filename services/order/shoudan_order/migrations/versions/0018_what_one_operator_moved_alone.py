"""What an operator moved alone today, so that small calls add up."""

from shoudan_kit.proposals import first_tables

revision: str = "0018"
down_revision: str | None = "0017"


def upgrade() -> None:
    """Forward."""
    first_tables.create_alone_call()
