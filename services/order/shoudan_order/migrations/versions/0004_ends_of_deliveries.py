"""Reports by supplier read deliveries and returns by the moment they ended."""

from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"


def upgrade() -> None:
    """Forward; returns of deliveries that succeeded only in name ended when they were made."""
    op.execute(
        "UPDATE oms_refund_up_return SET end_time = create_time"
        " WHERE return_status = 0 AND end_time IS NULL"
    )
    for table in ("oms_order_delivery", "oms_refund_up_return"):
        op.create_index(f"{table}_end_time", table, ["end_time"], postgresql_using="brin")
