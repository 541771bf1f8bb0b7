"""Failed tasks are found by their kind and key, and those of paused queues by their queue."""

from shoudan_kit.tasks import first_tables

PHASE: str = "index"
revision: str = "0013"
down_revision: str | None = "0012"


def upgrade() -> None:
    """Forward."""
    first_tables.index_set_aside()
