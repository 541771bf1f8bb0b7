"""Proposals: calls that wait for a second operator."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

TEXTS = (
    ("method", "<package>.<Service>/<Method> that is called when approved"),
    ("request_json", "the same for people, whole"),
    ("subject", "what the call is about"),
    ("dry_run", "JSON [[what, before, after], …]: what the call would change"),
    ("reason", "原因: why"),
    ("evidence", "依据: what shows that it is right"),
    ("proposal_key", "the maker's key for repeats"),
    ("maker_id", "提案人: number of the operator"),
    ("maker_name", "name of the operator at the time"),
    ("decider_id", "审批人: who approved, refused or withdrew it; empty while open"),
    ("decider_name", "name of that operator at the time"),
    ("decide_reason", "why"),
    ("result", "JSON as dry_run: what the call changed; empty unless applied"),
    ("refusal", "why the call was refused; empty unless failed"),
)


def upgrade() -> None:
    """Forward."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "proposal",
        sa.Column(
            "proposal_id",
            sa.BigInteger(),
            primary_key=True,
            autoincrement=False,
            nullable=False,
            comment="提案编号",
        ),
        *(sa.Column(name, sa.Text(), nullable=False, comment=why) for name, why in TEXTS),
        sa.Column("request", sa.LargeBinary(), nullable=False, comment="the request, protobuf"),
        sa.Column(
            "amount_micros",
            sa.BigInteger(),
            comment="money it is about, micro-yuan; NULL when unknown",
        ),
        sa.Column("status", sa.SmallInteger(), nullable=False, comment="states.ProposalState"),
        sa.Column("create_time", moment, nullable=False, comment="创建时间"),
        sa.Column(
            "expire_time", moment, nullable=False, comment="过期时间: not approvable from now on"
        ),
        sa.Column("end_time", moment, comment="结束时间"),
        sa.CheckConstraint("status IN (1, 2, 3, 4, 5, 6, 7)", name="status"),
        comment="提案: calls that wait for a second operator",
    )
    op.create_index("proposal_key", "proposal", ["maker_id", "proposal_key"], unique=True)
    for name, column, where in (
        ("proposal_open", "proposal_id", "status IN (1, 2)"),
        ("proposal_expiring", "expire_time", "status = 1"),
    ):
        op.create_index(name, "proposal", [column], postgresql_where=sa.text(where))


def downgrade() -> None:
    """Back."""
    op.drop_table("proposal")
