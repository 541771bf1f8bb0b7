"""Deliveries whose supplier says success without cards that can be issued."""

from __future__ import annotations

from alembic import op

from shoudan_kit.db.revising import BIG, INT, TEXT, TIME, check, column, index, table

revision: str = "0021"
down_revision: str | None = "0020"


def upgrade() -> None:
    """Forward; the release before neither reads nor writes it."""
    table(
        "vds_card_missing",
        column("order_no", BIG, "发货编号"),
        column("why", TEXT, "why its cards could not be issued, without a word of them"),
        column("answer", TEXT, "the supplier's last answer: its shape, its values masked"),
        column("answers", INT, "how many such answers came"),
        column("create_time", TIME, "创建时间"),
        column("last_update_time", TIME, "最后更新时间"),
        column("end_time", TIME, "since then it has its cards, or has failed", null=True),
        check("vds_card_missing_answers_check", "answers >= 0"),
        key=["order_no"],
        comment="缺卡发货: deliveries whose supplier says success without cards that can be issued",
    )
    index("vds_card_missing_open", "vds_card_missing", ["order_no"], where="end_time IS NULL")


def downgrade() -> None:
    """Back."""
    op.drop_table("vds_card_missing")
