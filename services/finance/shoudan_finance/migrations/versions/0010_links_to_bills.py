"""Tokens that files of bills are downloaded with."""

from shoudan_kit.db.revising import BIG, BYTES, TIME, column, index, table

revision: str = "0010"
down_revision: str | None = "0009"


def upgrade() -> None:
    """Forward."""
    table(
        "bill_link",
        column("digest", BYTES, "SHA-256 of the token"),
        column("bill_id", BIG, "账单编号"),
        column("create_time", TIME, "创建时间"),
        column("expire_time", TIME, "good until then"),
        key=["digest"],
        comment="账单链接: tokens that files are downloaded with; deleted when they have expired",
    )
    index("bill_link_expired", "bill_link", ["expire_time"])
