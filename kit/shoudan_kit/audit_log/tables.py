"""The tables of the audit log, alike in every service."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, MetaData, Table, Text

from shoudan_kit.db.columns import column, moment, one_of
from shoudan_kit.db.foundation import GROWING, rights

CALLER_KINDS: Final = ("operator", "service", "local", "none")
OUTCOMES: Final = ("done", "refused")
KEPT: Final = ("audit_log", "audit_log_sealed", "audit_log_block")


def add_tables(made: MetaData) -> None:
    """Add them to a service's MetaData."""
    _audit_log(made)
    _unsealed(made)
    _sealed(made)
    _block(made)


def _audit_log(made: MetaData) -> None:
    Table(
        "audit_log",
        made,
        column("id", BigInteger, "编号", key=True),
        moment("create_time", "创建时间"),
        column("service", Text, "service that changed something"),
        column("action", Text, "method of the contract, or what the service did by itself"),
        column("caller_kind", Text, "operator, service, local (not checked), none (not known)"),
        column("caller_ref", Text, "number of the operator, never a name; name of the service"),
        column("address", Text, "address the call came from; empty for the service itself"),
        column("subject_kind", Text, "kind of what was changed"),
        column("subject_key", Text, "its key"),
        column("before", Text, "JSON before the change, secrets and persons masked; or empty"),
        column("after", Text, "JSON after the change, secrets and persons masked; or empty"),
        column("reason", Text, "why, as the caller wrote it"),
        column("request_id", Text, "request it came with; or empty"),
        column("proposal_id", BigInteger, "proposal that was applied; 0 for none"),
        column("outcome", Text, "done, refused"),
        one_of("caller_kind", CALLER_KINDS),
        one_of("outcome", OUTCOMES),
        comment="审计日志: one row for each administrative write, never changed",
        postgresql_with=GROWING,
    )


def _unsealed(made: MetaData) -> None:
    """Written and committed with its row, so that no order of numbers or of commits loses one."""
    Table(
        "audit_log_unsealed",
        made,
        column("id", BigInteger, "audit_log.id", key=True),
        moment("create_time", "of the row"),
        comment="审计日志待封存: rows that are in no block yet",
        info=rights(delete=True),
    )


def _sealed(made: MetaData) -> None:
    Table(
        "audit_log_sealed",
        made,
        column("block_no", Integer, "audit_log_block.block_no", key=True),
        column("id", BigInteger, "audit_log.id", key=True),
        column("digest", LargeBinary, "SHA-256 of the row"),
        Index("audit_log_sealed_id", "id", unique=True),
        comment="审计日志封存: which row is in which block",
        postgresql_with=GROWING,
    )


def _block(made: MetaData) -> None:
    Table(
        "audit_log_block",
        made,
        column("block_no", Integer, "1, 2, 3 … without a gap", key=True),
        column("row_count", Integer, "rows in it"),
        column("first_id", BigInteger, "smallest number of its rows"),
        column("last_id", BigInteger, "greatest number of its rows"),
        column("rows_digest", LargeBinary, "SHA-256 of its rows' numbers and digests"),
        column("previous_digest", LargeBinary, "digest of the block before; zeros for the first"),
        column("digest", LargeBinary, "SHA-256 of all of the above"),
        column("key_id", Text, "key of the seal"),
        column("seal", LargeBinary, "HMAC-SHA-256 of the digest, under a key kept elsewhere"),
        moment("create_time", "sealed"),
        comment="审计日志区块: the chain of sealed blocks",
        postgresql_with=GROWING,
    )
