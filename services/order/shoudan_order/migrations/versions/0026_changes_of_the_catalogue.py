"""Which rows the last versions of the catalogue changed, so that processes read no more than these."""

from shoudan_kit.db.revising import BIG, TEXT, column, table

revision: str = "0026"
down_revision: str | None = "0023"


def upgrade() -> None:
    """Forward."""
    table(
        "oms_catalogue_change",
        column("version", BIG, "catalogue version that changed the row"),
        column("kind", TEXT, "kind of row, as the catalogue's files name it"),
        column("row_key", TEXT, "the row's own key"),
        key=["version", "kind", "row_key"],
        comment="目录变更: which rows the last versions changed",
    )
