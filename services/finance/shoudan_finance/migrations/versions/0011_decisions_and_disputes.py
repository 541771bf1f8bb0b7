"""Decisions about exceptions: proposals of two persons, notes, disputes."""

import sqlalchemy as sa
from alembic import op

from shoudan_kit.db.revising import BIG, BYTES, DATE, SMALL, TEXT, TIME, check, column, index, table
from shoudan_kit.proposals import first_tables

revision: str = "0011"
down_revision: str | None = "0010"

GROWING = {
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
}


def upgrade() -> None:
    """Forward."""
    first_tables.create_tables()
    first_tables.create_alone_call()
    dispute = column("dispute_id", BIG, "the dispute it is part of; 0 for none", default="0")
    op.add_column("exception", dispute)
    table(
        "exception_note",
        column("note_id", BIG, "记录编号"),
        column("exception_id", BIG, "差错编号"),
        column("kind", SMALL, "states.NoteKind"),
        column("words", TEXT, "what"),
        column("sha256", BYTES, "SHA-256 of a file that is attached; empty without one"),
        column("file_name", sa.String(128), "文件名"),
        column("noted_by", sa.String(64), "操作员"),
        column("create_time", TIME, "创建时间"),
        check("exception_note_kind", "kind IN (1, 2, 3, 4, 5, 6, 7)"),
        key=["note_id"],
        comment="差错记录: what was done and said about exceptions",
        storage=GROWING,
    )
    index("exception_note_of", "exception_note", ["exception_id", "note_id"])
    index("exception_note_file", "exception_note", ["sha256"], where="sha256 <> ''")
    table(
        "dispute",
        column("dispute_id", BIG, "争议编号"),
        column("source", sa.String(32), "来源: with whom"),
        column("status", SMALL, "states.DisputeStatus"),
        column("letter", TEXT, "our letter"),
        column("deadline", DATE, "until when it is to be answered"),
        column("answer", TEXT, "what was answered; empty before"),
        column("answer_sha256", BYTES, "SHA-256 of a file with the answer; empty without one"),
        column("exceptions", BIG, "exceptions in it"),
        column("diff_micros", BIG, "what they come to, signed, 10^-6 元"),
        column("opened_by", sa.String(64), "操作员"),
        column("create_time", TIME, "创建时间"),
        column("answer_time", TIME, "when it was answered", null=True),
        check("dispute_status", "status IN (10, 20)"),
        key=["dispute_id"],
        comment="争议: what we hold against a source, until it answers",
    )
    index("dispute_file", "dispute", ["answer_sha256"], where="answer_sha256 <> ''")
