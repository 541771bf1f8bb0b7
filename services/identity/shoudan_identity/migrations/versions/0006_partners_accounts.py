"""Accounts of partners: operators without roles that see the rows of some down channels."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shoudan_kit.db.revising import TEXT, column

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Forward; the release before makes operators alone, which have no channels."""
    whose = "of a partner's account: the down channels whose rows it sees; none of an operator"
    op.add_column("operator", column("channels", sa.ARRAY(TEXT), whose, default="'{}'::text[]"))
    op.create_check_constraint(
        op.f("operator_roles_or_channels"),
        "operator",
        "channels = '{}' OR roles = '{}'",
        postgresql_not_valid=True,
    )
