"""The table of number segments: one row that holds all of them."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, LargeBinary, MetaData, Table

from shoudan_kit.db.foundation import rights
from shoudan_order.tables.columns import holds, now, number, words


def declare(made: MetaData) -> None:
    """Add the table to `made`."""
    Table(
        "oms_segment_table",
        made,
        Column("one", Boolean, primary_key=True, comment="always true: there is one row"),
        number("version", "raised by every import that changes it"),
        Column(
            "content",
            LargeBinary,
            nullable=False,
            comment="carriers, provinces and sorted ranges of numbers, compressed",
        ),
        words("made_by", "operator of the import", None),
        now("import_time", "when it was imported"),
        holds("one", "one"),
        comment="号段表",
        info=rights(update=("version", "content", "made_by", "import_time")),
    )
