"""The audit log: rows, which of them are in no block yet, and the blocks."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

GROWING = {
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
}
TEXTS = {
    "service": "service that changed something",
    "action": "method of the contract, or what the service did by itself",
    "caller_kind": "operator, service, local (not checked), none (not known)",
    "caller_ref": "number of the operator, never a name; name of the service",
    "address": "address the call came from; empty for the service itself",
    "subject_kind": "kind of what was changed",
    "subject_key": "its key",
    "before": "JSON before the change, secrets and persons masked; or empty",
    "after": "JSON after the change, secrets and persons masked; or empty",
    "reason": "why, as the caller wrote it",
    "request_id": "request it came with; or empty",
}


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "audit_log",
        _number("id", "编号"),
        _column("create_time", sa.DateTime(timezone=True), "创建时间"),
        *(_column(name, sa.Text(), comment) for name, comment in TEXTS.items()),
        _column("proposal_id", sa.BigInteger(), "proposal that was applied; 0 for none"),
        _column("outcome", sa.Text(), "done, refused"),
        sa.CheckConstraint(
            "caller_kind IN ('operator', 'service', 'local', 'none')",
            name=op.f("audit_log_caller_kind"),
        ),
        sa.CheckConstraint("outcome IN ('done', 'refused')", name=op.f("audit_log_outcome")),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_log_pkey")),
        comment="审计日志: one row for each administrative write, never changed",
        postgresql_with=GROWING,
    )
    op.create_table(
        "audit_log_unsealed",
        _number("id", "audit_log.id"),
        _column("create_time", sa.DateTime(timezone=True), "of the row"),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_log_unsealed_pkey")),
        comment="审计日志待封存: rows that are in no block yet",
    )
    op.create_table(
        "audit_log_sealed",
        _column("block_no", sa.Integer(), "audit_log_block.block_no", autoincrement=False),
        _number("id", "audit_log.id"),
        _column("digest", sa.LargeBinary(), "SHA-256 of the row"),
        sa.PrimaryKeyConstraint("block_no", "id", name=op.f("audit_log_sealed_pkey")),
        comment="审计日志封存: which row is in which block",
        postgresql_with=GROWING,
    )
    op.create_index("audit_log_sealed_id", "audit_log_sealed", ["id"], unique=True)
    op.create_table(
        "audit_log_block",
        _column("block_no", sa.Integer(), "1, 2, 3 … without a gap", autoincrement=False),
        _column("row_count", sa.Integer(), "rows in it"),
        _column("first_id", sa.BigInteger(), "smallest number of its rows"),
        _column("last_id", sa.BigInteger(), "greatest number of its rows"),
        _column("rows_digest", sa.LargeBinary(), "SHA-256 of its rows' numbers and digests"),
        _column(
            "previous_digest", sa.LargeBinary(), "digest of the block before; zeros for the first"
        ),
        _column("digest", sa.LargeBinary(), "SHA-256 of all of the above"),
        _column("key_id", sa.Text(), "key of the seal"),
        _column("seal", sa.LargeBinary(), "HMAC-SHA-256 of the digest, under a key kept elsewhere"),
        _column("create_time", sa.DateTime(timezone=True), "sealed"),
        sa.PrimaryKeyConstraint("block_no", name=op.f("audit_log_block_pkey")),
        comment="审计日志区块: the chain of sealed blocks",
        postgresql_with=GROWING,
    )


def downgrade() -> None:
    """Back."""
    for name in ("audit_log_block", "audit_log_sealed", "audit_log_unsealed", "audit_log"):
        op.drop_table(name)


def _column(name: str, kind: Any, comment: str, **more: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, comment=comment, **more)


def _number(name: str, comment: str) -> sa.Column[Any]:
    return _column(name, sa.BigInteger(), comment, autoincrement=False)
