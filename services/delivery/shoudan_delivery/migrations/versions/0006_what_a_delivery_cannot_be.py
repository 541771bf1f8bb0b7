"""The database refuses ends without a moment, results of what was not delivered, and wrong toggles."""

from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"

ENDED = (
    "(status IN (0, 90)) = (request_finish_time IS NOT NULL)"
    " AND (status <> 0 OR result_source BETWEEN 1 AND 4) AND (NOT conflict OR status IN (0, 90))"
)
SENT = (
    "(status <> 30 OR request_start_time IS NOT NULL)"
    " AND (status <> 20 OR request_start_time IS NULL) AND request_count >= 0"
)
DELIVERED = (
    "succ_face_micros = CASE WHEN status = 0 THEN product_face_micros * product_num ELSE 0 END"
)
RULES = (
    ("vds_channel_info", "toggles", "status IN (0, 1) AND can_query IN (0, 1)"),
    ("vds_channel_info", "tripped", "tripped_until IS NULL OR state = 2"),
    ("vds_order_info", "ended", ENDED),
    ("vds_order_info", "sent", SENT),
    ("vds_order_info", "delivered", DELIVERED),
    ("vds_order_query", "status_check", "status IN (0, 20) AND query_count > 0"),
    ("vds_order_notify", "status_check", "status IN (0, 20, 90) AND notify_count > 0"),
    ("vds_order_notify", "ended", "(status = 20) = (finish_time IS NULL)"),
)


def upgrade() -> None:
    """Forward; the release before keeps these rules, too."""
    for table, name, rule in RULES:
        op.create_check_constraint(op.f(f"{table}_{name}"), table, rule, postgresql_not_valid=True)
