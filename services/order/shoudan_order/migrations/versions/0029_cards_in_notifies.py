"""A channel may name a key that the cards of its orders are encrypted to in their notifies."""

from alembic import op

from shoudan_kit.db.revising import TEXT, column

revision: str = "0029"
down_revision: str | None = "0028"


def upgrade() -> None:
    """Forward; no key is what the release before does."""
    comment = "X25519 key in base64 that its notifies carry cards encrypted to; empty for none"
    op.add_column("oms_down_channel", column("card_key", TEXT, comment, default="''"))
