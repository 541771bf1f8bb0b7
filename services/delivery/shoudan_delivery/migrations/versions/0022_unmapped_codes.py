"""Codes that suppliers answered with and that no error code explains."""

from __future__ import annotations

from alembic import op

from shoudan_kit.db.revising import BIG, SMALL, TEXT, TIME, check, column, table

revision: str = "0022"
down_revision: str | None = "0021"


def upgrade() -> None:
    """Forward; the release before neither reads nor writes it."""
    table(
        "vds_unmapped_code",
        column("channel_no", TEXT, "渠道编号"),
        column("service_class", SMALL, "服务类型"),
        column("error_code", TEXT, "错误码, cut to 64"),
        column("error_desc", TEXT, "the supplier's words when it came last, without the account"),
        column("answers", BIG, "how many answers had it"),
        column("coop_order_id", TEXT, "the delivery that it came for last: its owner's number"),
        column("create_time", TIME, "创建时间"),
        column("last_update_time", TIME, "最后更新时间"),
        check("vds_unmapped_code_answers_check", "answers >= 1"),
        key=["channel_no", "service_class", "error_code"],
        comment="未识别错误码: codes of suppliers that vds_channel_error_code does not explain",
    )


def downgrade() -> None:
    """Back."""
    op.drop_table("vds_unmapped_code")
