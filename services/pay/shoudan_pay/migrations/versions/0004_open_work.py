"""What waits for a person says why and since when; notices may be dropped by a decision."""

import sqlalchemy as sa
from alembic import op

from shoudan_kit.db.revising import (
    TIME,
    column,
    index,
)

revision: str = "0004"
down_revision: str | None = "0003"

ORDERS = ("pay_order", "refund_order")


def upgrade() -> None:
    """Forward; with defaults, so that the release before goes on writing orders."""
    for table in ORDERS:
        op.add_column(
            table,
            sa.Column(
                "parked_reason",
                sa.String(length=128),
                nullable=False,
                server_default="",
                comment="why it waits for a person; empty otherwise",
            ),
        )
        op.add_column(
            table,
            column("parked_time", TIME, "since when it waits for a person", null=True),
        )
        op.execute(
            f"UPDATE {table} SET parked_reason = 'parked before reasons were kept',"
            " parked_time = modify_time WHERE parked"
        )
        op.create_index(
            f"{table}_parked", table, ["traction_no"], postgresql_where=sa.text("parked")
        )
    index(
        "ums_refund_open",
        "ums_refund",
        ["traction_no"],
        where="status IN ('unknown', 'processing')",
    )
    index("dingdang_notice_given_up", "dingdang_notice", ["notice_id"], where="status = 'given_up'")
    op.drop_constraint(op.f("dingdang_notice_status"), "dingdang_notice")
    op.create_check_constraint(
        op.f("dingdang_notice_status"),
        "dingdang_notice",
        "status IN ('waiting', 'done', 'given_up', 'dropped')",
    )
