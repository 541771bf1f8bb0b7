"""A dispute keeps its exceptions when they are disputed again."""

from shoudan_kit.db.revising import BIG, column, index, table

revision: str = "0021"
down_revision: str | None = "0020"

GROWING = {
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
}


def upgrade() -> None:
    """Forward; of what the release before opens the exceptions alone name their dispute."""
    table(
        "dispute_exception",
        column("dispute_id", BIG, "争议编号"),
        column("exception_id", BIG, "差错编号"),
        key=["dispute_id", "exception_id"],
        comment="争议差错: which exceptions are or were part of a dispute",
        storage=GROWING,
    )
    index("dispute_exception_of", "dispute_exception", ["exception_id", "dispute_id"])
