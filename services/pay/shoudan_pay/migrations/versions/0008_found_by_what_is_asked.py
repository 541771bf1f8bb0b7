"""Third parties' numbers, the newest of all merchants and a package's records are found through an index."""

import sqlalchemy as sa
from alembic import op

PHASE: str = "index"
revision: str = "0008"
down_revision: str | None = "0007"

ADDED = (
    ("pay_order_third_pay_no", "pay_order", ["third_pay_no"], "third_pay_no IS NOT NULL"),
    ("pay_order_created", "pay_order", ["create_time"], None),
    ("refund_order_pay_uuid", "refund_order", ["pay_uuid"], None),
    ("refund_order_client_refund_no", "refund_order", ["client_refund_no"], None),
    (
        "refund_order_third_refund_no",
        "refund_order",
        ["third_refund_no"],
        "third_refund_no IS NOT NULL",
    ),
    ("refund_order_created", "refund_order", ["create_time"], None),
    ("trade_record_refund", "trade_record", ["refund_uuid"], "refund_uuid <> ''"),
    ("trade_record_created", "trade_record", ["create_time"], None),
    ("ums_refund_mer_order", "ums_refund", ["mer_order_id"], None),
    ("package_record_of", "package_record", ["pkg_id", "record_id"], None),
)


def upgrade() -> None:
    """Forward; what was made before it was cut off stays."""
    for name, table, columns, where in ADDED:
        only = None if where is None else sa.text(where)
        op.create_index(
            name,
            table,
            columns,
            postgresql_where=only,
            postgresql_concurrently=True,
            if_not_exists=True,
        )
