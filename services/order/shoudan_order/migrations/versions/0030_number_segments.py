"""Number segments: one row holds the carrier and province of every number that is known."""

from shoudan_kit.db.revising import BIG, BOOL, BYTES, TEXT, TIME, check, column, table

revision: str = "0030"
down_revision: str | None = "0029"


def upgrade() -> None:
    """Forward; the release before looks at none."""
    table(
        "oms_segment_table",
        column("one", BOOL, "always true: there is one row"),
        column("version", BIG, "raised by every import that changes it"),
        column("content", BYTES, "carriers, provinces and sorted ranges of numbers, compressed"),
        column("made_by", TEXT, "operator of the import"),
        column("import_time", TIME, "when it was imported", default="shoudan_now()"),
        check("oms_segment_table_one", "one"),
        key=["one"],
        comment="号段表",
    )
