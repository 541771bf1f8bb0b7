"""A line says how it chooses its suppliers, a part why it went to its own; how suppliers did stays known."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from shoudan_kit.db.revising import BIG, INT, TEXT, TIME, column, table

revision: str = "0027"
down_revision: str | None = "0026"


def upgrade() -> None:
    """Forward; `cheapest` is what the release before does."""
    how = "how a supplier is chosen among those that can deliver"
    op.add_column("oms_product_line", column("route_policy", TEXT, how, default="'cheapest'"))
    for name, comment in (
        ("route_weights", "by supplier, its share where the policy is weighted"),
        ("route_terms", "by name, what the policy outcome weighs"),
    ):
        empty = sa.text("'{}'")
        op.add_column(
            "oms_product_line",
            sa.Column(name, JSONB(), nullable=False, server_default=empty, comment=comment),
        )
    why = "why this supplier: policy, draw and candidates, JSON"
    op.add_column("oms_order_delivery", column("route_reason", TEXT, why, default="''"))
    table(
        "oms_route_minute",
        column("minute", TIME, "a minute in which deliveries ended"),
        column("line_id", BIG, "产品线编号"),
        column("up_channel_no", TEXT, "上游渠道编号"),
        column("ended", INT, "deliveries that ended in it"),
        column("succeeded", INT, "of them, those that succeeded"),
        column("p90_ms", BIG, "milliseconds nine of ten took at most"),
        key=["minute", "line_id", "up_channel_no"],
        comment="上游每分钟结果",
    )
