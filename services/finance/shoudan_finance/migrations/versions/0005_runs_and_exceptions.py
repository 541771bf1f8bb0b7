"""Runs of the reconciliation, the days of ours they know, and the exceptions they find."""

import sqlalchemy as sa
from alembic import op

from shoudan_kit.db.revising import BIG, DATE, SMALL, TIME, check, column, index, table

revision: str = "0005"
down_revision: str | None = "0004"

SOURCE = sa.String(32)
PERSON = sa.String(64)


def upgrade() -> None:
    """Forward."""
    op.add_column("entry", column("rule", SMALL, "states.MatchRule", default="0"))
    op.execute(
        "ALTER TABLE entry ADD CONSTRAINT entry_rule CHECK (rule IN (0, 1, 2, 3, 4, 9)) NOT VALID"
    )
    for name, comment in (
        ("match_id", "the entry that it was matched with; 0 for none"),
        ("settle_id", "the entry that settled it; 0 for none"),
    ):
        op.alter_column("entry", name, comment=comment)
    table(
        "reconcile_day",
        column("source", SOURCE, "来源: supplier"),
        column("day", DATE, "业务日, of which our trades with it are entries"),
        column("entries", BIG, "how many they are"),
        column("create_time", TIME, "创建时间"),
        key=["source", "day"],
        comment="对账日: days of which our side is here",
    )
    _runs()
    _exceptions()


def _runs() -> None:
    table(
        "reconcile_run",
        column("run_id", BIG, "对账批次编号"),
        column("source", SOURCE, "来源: whose entries were matched"),
        column("status", SMALL, "states.RunStatus"),
        column("asked_by", PERSON, "操作员; empty when it came by itself"),
        column("ours", BIG, "entries of ours that it looked at"),
        column("theirs", BIG, "entries of theirs"),
        column("matched", BIG, "对平: pairs, and failures of one side alone"),
        column("late", BIG, "exceptions whose counterpart came late"),
        column("longs", BIG, "长款: new ones"),
        column("shorts", BIG, "短款: new ones"),
        column("amounts", BIG, "金额不符: new ones"),
        column("outcomes", BIG, "状态不符: new ones"),
        column("settlements", BIG, "结算不符: new ones"),
        column("settled", BIG, "settlements that are the sum of their lines"),
        column("awaiting", BIG, "在途: entries whose counterpart is not due yet"),
        column("uncovered", BIG, "days with trades of ours and without a statement"),
        column("what", sa.String(256), "why it failed; empty unless it did"),
        column("create_time", TIME, "创建时间"),
        column("end_time", TIME, "结束时间", null=True),
        check("reconcile_run_status", "status IN (10, 30, 80)"),
        key=["run_id"],
        comment="对账批次: every run of the reconciliation, and what it found",
    )
    index("reconcile_run_of", "reconcile_run", ["source", "run_id"])
    index("reconcile_run_open", "reconcile_run", ["source"], where="status = 10")


def _exceptions() -> None:
    undecided = "status IN (10, 20, 30)"
    table(
        "exception",
        column("exception_id", BIG, "差错编号"),
        column("source", SOURCE, "来源: with whom"),
        column("kind", SMALL, "states.ExceptionKind"),
        column("status", SMALL, "states.ExceptionStatus"),
        column("ours_id", BIG, "our entry; 0 for none"),
        column("theirs_id", BIG, "their entry; 0 for none"),
        column("diff_micros", BIG, "what moved beyond our books, signed, 10^-6 元"),
        column("day", DATE, "day of the entry, Beijing"),
        column("run_id", BIG, "the run that found it"),
        column("assignee", PERSON, "处理人; empty for none"),
        column("decision", SMALL, "处理方式: 0 none yet"),
        column("remark", sa.String(256), "备注"),
        column("decided_by", PERSON, "who proposed the decision"),
        column("record_id", BIG, "变动编号: the ledger's record of its posting; 0 for none"),
        column("create_time", TIME, "创建时间"),
        column("change_time", TIME, "changed last"),
        column("end_time", TIME, "结束时间", null=True),
        check("exception_kind", "kind IN (1, 2, 3, 4, 5)"),
        check("exception_status", "status IN (10, 20, 30, 40, 50, 60, 70)"),
        key=["exception_id"],
        comment="差错: differences between the books, until they are settled",
    )
    index("exception_once", "exception", ["ours_id", "theirs_id"], unique=True, where=undecided)
    theirs = f"theirs_id > 0 AND {undecided}"
    index("exception_of_theirs", "exception", ["theirs_id"], where=theirs)
    index("exception_undecided", "exception", ["exception_id"], where=undecided)
    index("exception_of_source", "exception", ["source", "exception_id"])
