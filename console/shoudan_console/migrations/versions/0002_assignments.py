"""Who works on what waits for a person."""

from shoudan_kit.db.revising import BIG, TEXT, TIME, check, column, index, table

revision: str = "0002"
down_revision: str | None = "0001"


def upgrade() -> None:
    """Forward."""
    table(
        "console_assignment",
        column("service", TEXT, "where it waits"),
        column("kind", TEXT, "what kind of thing"),
        column("key", TEXT, "its number within the kind"),
        column("operator_id", BIG, "who works on it"),
        column("operator", TEXT, "login name"),
        column("create_time", TIME, "since when"),
        check("console_assignment_service_length", "length(service) BETWEEN 1 AND 40"),
        check("console_assignment_kind_length", "length(kind) BETWEEN 1 AND 40"),
        check("console_assignment_key_length", "length(key) BETWEEN 1 AND 64"),
        key=["service", "kind", "key"],
        comment="认领: who works on what waits for a person; a note among operators, no right",
    )
    index("console_assignment_operator", "console_assignment", ["operator_id", "create_time"])
