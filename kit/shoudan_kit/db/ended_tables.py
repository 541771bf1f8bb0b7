"""The table of what leaves a database together; each service that has one names it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, DateTime, Index, MetaData, Table, Text, text

from shoudan_kit.db.columns import column, moment
from shoudan_kit.db.foundation import rights

OPEN = "deleted_time IS NULL"


def lots(made: MetaData, name: str, rows: str, row: str, *, insert: bool = True) -> Table:
    """Add it to `made`; `rows` and `row` say what leaves, for people. `insert`: a service may add."""
    return Table(
        name,
        made,
        column("lot_no", Text, f"批次: of {rows} that leave together", key=True),
        column("low", BigInteger, f"its first {row}"),
        column("high", BigInteger, f"its last {row}"),
        column("place", Text, "address of the archive that has its files"),
        Column(
            "chosen_time",
            DateTime(timezone=True),
            nullable=False,
            server_default=text("shoudan_now()"),
            comment="its keys are known since",
        ),
        moment("written_time", "its files were read back", null=True),
        moment("deleted_time", f"its {rows} have left", null=True),
        Index(f"{name}_open", text(f"({OPEN})"), unique=True, postgresql_where=text(OPEN)),
        comment="归档批次",
        info=rights(insert=insert),
    )
