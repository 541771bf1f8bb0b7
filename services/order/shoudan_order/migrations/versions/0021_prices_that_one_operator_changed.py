"""What an operator changed of prices alone today, so that small steps add up."""

from shoudan_kit.proposals import first_tables

revision: str = "0021"
down_revision: str | None = "0020"


def upgrade() -> None:
    """Forward."""
    first_tables.create_alone_price()
