"""Sessions of partners' accounts: which channels they are of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shoudan_kit.db.revising import TEXT, column

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Forward; the release before shows such a session nothing, for it has no roles."""
    whose = "of a partner's account: its channels; services judge"
    op.add_column(
        "console_session", column("channels", sa.ARRAY(TEXT), whose, default="'{}'::text[]")
    )
