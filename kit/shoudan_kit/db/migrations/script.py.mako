"""${message}."""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision: str = ${repr(up_revision)}
down_revision: str | None = ${repr(down_revision)}


def upgrade() -> None:
    """Forward; every step leaves the tables usable by the code of the release before."""
    ${upgrades if upgrades else "pass"}
