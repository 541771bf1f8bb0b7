"""Statements of suppliers, payment components and banks, and the entries that are matched."""

import sqlalchemy as sa

from shoudan_kit.db.revising import BIG, BYTES, DATE, INT, SMALL, TIME, check, column, index, table

revision: str = "0003"
down_revision: str | None = "0002"

GROWING = {
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
}


def upgrade() -> None:
    """Forward."""
    _parts()
    _statements()
    _entries()


def _parts() -> None:
    table(
        "statement_part",
        column("sha256", BYTES, "SHA-256 of the whole file"),
        column("part_no", INT, "which part, from 0"),
        column("data", BYTES, "its bytes"),
        column("create_time", TIME, "创建时间"),
        check("statement_part_part_no", "part_no >= 0"),
        key=["sha256", "part_no"],
        comment="对账单文件: parts of files as they came; those of no statement are deleted after a day",
    )
    index("statement_part_old", "statement_part", ["create_time"])


def _statements() -> None:
    table(
        "statement",
        column("statement_id", BIG, "对账单编号"),
        column("template", sa.String(32), "the template it was read with"),
        column("source", sa.String(32), "来源: supplier, merchant or bank account"),
        column("book", SMALL, "states.Book"),
        column("file_name", sa.String(128), "文件名"),
        column("sha256", BYTES, "SHA-256 of the file"),
        column("file_bytes", BIG, "bytes of the file"),
        column("entries", BIG, "rows that were stored"),
        column("duplicates", BIG, "rows that another statement of the source has, too"),
        column("skipped", BIG, "rows that the template skips"),
        column("credits_micros", BIG, "what the rows give us, 10^-6 元"),
        column("debits_micros", BIG, "what they take from us, without a sign"),
        column("first_day", DATE, "first day of its rows, Beijing", null=True),
        column("last_day", DATE, "last day of its rows", null=True),
        column("status", SMALL, "states.StatementStatus"),
        column("supersedes", BIG, "the statement whose place it took; 0 for none"),
        column("imported_by", sa.String(64), "操作员"),
        column("create_time", TIME, "创建时间"),
        column("supersede_time", TIME, "when another one took its place", null=True),
        check("statement_status", "status IN (20, 90)"),
        check("statement_book", "book IN (1, 2, 3)"),
        key=["statement_id"],
        comment="对账单: files of suppliers, payment components and banks",
    )
    index("statement_file", "statement", ["source", "sha256"], unique=True)
    index("statement_sha256", "statement", ["sha256"])
    index("statement_of", "statement", ["source", "statement_id"])


def _entries() -> None:
    table(
        "entry",
        column("entry_id", BIG, "分录编号"),
        column("source", sa.String(32), "来源: with whom money moved"),
        column("book", SMALL, "states.Book"),
        column("statement_id", BIG, "对账单编号; 0 of our own"),
        column("row_no", BIG, "row of the file, from 1; 0 of our own"),
        column("kind", SMALL, "states.EntryKind"),
        column("our_no", sa.String(64), "our number"),
        column("their_no", sa.String(64), "their number"),
        column("settle_no", sa.String(64), "the settlement it belongs to"),
        column("account", sa.String(64), "the account that was recharged, or paid"),
        column("face_micros", BIG, "面值, 10^-6 元; 0 when not said"),
        column("amount_micros", BIG, "what it does to us, signed, 10^-6 元"),
        column("outcome", SMALL, "states.Outcome"),
        column("happen_time", TIME, "发生时间"),
        column("day", DATE, "day of happen_time in Beijing"),
        column("digest", BYTES, "of its content: the same row of another file has it, too"),
        column("status", SMALL, "states.EntryStatus"),
        column("match_id", BIG, "the match it belongs to; 0 for none"),
        column("settle_id", BIG, "the match that settled it; 0 for none"),
        column("create_time", TIME, "创建时间"),
        check("entry_book", "book IN (1, 2, 3)"),
        check("entry_kind", "kind IN (1, 2, 3, 4, 5, 6, 7)"),
        check("entry_outcome", "outcome IN (1, 2, 3)"),
        check("entry_status", "status IN (10, 20, 30, 40, 90)"),
        key=["entry_id"],
        comment="对账分录: what each book says of a movement, and whether the others say the same",
        storage=GROWING,
    )
    index(
        "entry_once",
        "entry",
        ["source", "book", "digest"],
        unique=True,
        where="status IN (10, 20, 30, 40)",
    )
    index("entry_unmatched", "entry", ["source", "entry_id"], where="status IN (10, 20)")
    index("entry_of_statement", "entry", ["statement_id", "entry_id"])
