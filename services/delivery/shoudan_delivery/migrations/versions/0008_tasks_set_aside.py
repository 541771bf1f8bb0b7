"""Failed tasks are found by their kind and key, and those of paused queues by their queue."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

PHASE: str = "index"
revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

# All three stay empty in the normal run, so that no task is dearer for them.
ADDED = (
    ("task_failed", ["name", "task_id"], "status = 90"),
    ("task_failed_key", ["order_no", "name"], "exclusive AND status = 90"),
    ("task_set_aside", ["queue_name", "task_id"], "next_execute_time = 'infinity'"),
)


def upgrade() -> None:
    """Forward."""
    for name, columns, where in ADDED:
        op.create_index(
            name, "task", columns, postgresql_where=sa.text(where), postgresql_concurrently=True
        )


def downgrade() -> None:
    """Back."""
    for name, _, _ in ADDED[::-1]:
        op.drop_index(name, table_name="task", postgresql_concurrently=True)
