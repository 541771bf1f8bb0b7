"""Failed tasks are found by their kind and key, and those of paused queues by their queue."""

from collections.abc import Sequence

from shoudan_kit.tasks import first_tables

PHASE: str = "index"
revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Forward."""
    first_tables.index_set_aside()


def downgrade() -> None:
    """Back."""
    first_tables.drop_set_aside()
