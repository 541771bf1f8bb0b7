"""Which crossing of a threshold was the last, so that it is known by a key."""

from __future__ import annotations

from alembic import op

from shoudan_kit.db.revising import BIG, TIME, column

revision: str = "0024"
down_revision: str | None = "0023"


def upgrade() -> None:
    """Forward; the release before stores the direction alone."""
    which = "seq of the record with which it was crossed last, or after which it was set"
    op.add_column("account_alert", column("crossed_seq", BIG, which, default="0"))
    when = column("crossed_time", TIME, "when that was, if it is known", null=True)
    op.add_column("account_alert", when)
