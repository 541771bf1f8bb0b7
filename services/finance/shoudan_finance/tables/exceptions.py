"""What is noted about exceptions, and the disputes they are part of."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Date, Index, LargeBinary, SmallInteger, String, Table, Text, text

from shoudan_finance.states import DISPUTE, DisputeStatus, NoteKind
from shoudan_finance.tables import METADATA
from shoudan_kit.db.columns import column, moment, one_of
from shoudan_kit.db.foundation import GROWING, rights
from shoudan_kit.db.moves import lifecycles

NOTE: Final = Table(
    "exception_note",
    METADATA,
    column("note_id", BigInteger, "记录编号", key=True),
    column("exception_id", BigInteger, "差错编号"),
    column("kind", SmallInteger, "states.NoteKind"),
    column("words", Text, "what"),
    column("sha256", LargeBinary, "SHA-256 of a file that is attached; empty without one"),
    column("file_name", String(128), "文件名"),
    column("noted_by", String(64), "操作员"),
    moment("create_time", "创建时间"),
    one_of("kind", NoteKind),
    Index("exception_note_of", "exception_id", "note_id"),
    Index("exception_note_file", "sha256", postgresql_where=text("sha256 <> ''")),
    comment="差错记录: what was done and said about exceptions",
    postgresql_with=GROWING,
)

# Which exceptions a dispute was opened about; exception.dispute_id knows the last one alone.
DISPUTED_TABLE: Final = Table(
    "dispute_exception",
    METADATA,
    column("dispute_id", BigInteger, "争议编号", key=True),
    column("exception_id", BigInteger, "差错编号", key=True),
    Index("dispute_exception_of", "exception_id", "dispute_id"),
    comment="争议差错: which exceptions are or were part of a dispute",
    postgresql_with=GROWING,
)

DISPUTE_TABLE: Final = Table(
    "dispute",
    METADATA,
    column("dispute_id", BigInteger, "争议编号", key=True),
    column("source", String(32), "来源: with whom"),
    column("status", SmallInteger, "states.DisputeStatus"),
    column("letter", Text, "our letter"),
    column("deadline", Date, "until when it is to be answered"),
    column("answer", Text, "what was answered; empty before"),
    column("answer_sha256", LargeBinary, "SHA-256 of a file with the answer; empty without one"),
    column("exceptions", BigInteger, "exceptions in it"),
    column("diff_micros", BigInteger, "what they come to, signed, 10^-6 元"),
    column("opened_by", String(64), "操作员"),
    moment("create_time", "创建时间"),
    moment("answer_time", "when it was answered", null=True),
    one_of("status", DisputeStatus),
    Index("dispute_file", "answer_sha256", postgresql_where=text("answer_sha256 <> ''")),
    comment="争议: what we hold against a source, until it answers",
    info=rights(update=("status", "answer", "answer_sha256", "answer_time"))
    | lifecycles(status=DISPUTE.moves),
)
