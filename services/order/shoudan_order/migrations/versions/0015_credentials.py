"""Credentials of partners: sealed secrets with their times, and who stored them."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def _c(name: str, kind: Any, comment: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null, comment=comment)


def _when(name: str, comment: str, *, null: bool = False) -> sa.Column[Any]:
    return _c(name, sa.DateTime(timezone=True), comment, null=null)


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "credential",
        sa.Column(
            "credential_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="number"
        ),
        _c("kind", sa.Text(), "what it is for: channel, erp, supplier …"),
        _c("owner", sa.Text(), "whose: channel, sender, supplier …"),
        _c("sealed", sa.LargeBinary(), "encrypted: the secret, bound to number, kind and owner"),
        _c("fingerprint", sa.Text(), "first eight hexadecimal digits of its SHA-256"),
        _c("status", sa.SmallInteger(), "states.CredentialStatus"),
        _when("not_before", "in force from then on; null: at once", null=True),
        _when("expire_time", "in force until then; null: until further notice", null=True),
        _when("last_used_time", "when it last fitted, to the minute", null=True),
        _c("version", sa.BigInteger(), "rises with each change of any credential here"),
        _c("request_key", sa.Text(), "of the call that stored it"),
        _c("content_hash", sa.LargeBinary(), "keyed digest of that call, to know its repeats"),
        _c("created_by", sa.Text(), "who stored it"),
        _c("reason", sa.Text(), "why"),
        _when("create_time", "when"),
        _c("ended_by", sa.Text(), "who revoked it", null=True),
        _c("ended_reason", sa.Text(), "why it was revoked", null=True),
        sa.CheckConstraint("status IN (10, 20, 90, 91)", name=op.f("credential_status")),
        sa.PrimaryKeyConstraint("credential_id", name=op.f("credential_pkey")),
        comment="凭证: secrets of partners, suppliers and platforms",
    )
    op.create_index("credential_request", "credential", ["request_key"], unique=True)
    op.create_index("credential_version", "credential", ["version"])
    op.create_index("credential_owner", "credential", ["kind", "owner", "credential_id"])
    op.create_index(
        "credential_live",
        "credential",
        ["credential_id"],
        postgresql_where=sa.text("status IN (10, 20)"),
    )


def downgrade() -> None:
    """Back."""
    op.drop_table("credential")
