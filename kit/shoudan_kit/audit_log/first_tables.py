"""The tables of the audit log as one revision of each service makes them; frozen, as revisions are."""

from __future__ import annotations

from typing import Final

from shoudan_kit.db.revising import BIG, BYTES, INT, TEXT, TIME, check, column, index, table

_GROWING: Final = {
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
}


def create_tables() -> None:
    """The rows, which of them are in no block yet, and the blocks."""
    table(
        "audit_log",
        column("id", BIG, "编号"),
        column("create_time", TIME, "创建时间"),
        column("service", TEXT, "service that changed something"),
        column("action", TEXT, "method of the contract, or what the service did by itself"),
        column("caller_kind", TEXT, "operator, service, local (not checked), none (not known)"),
        column("caller_ref", TEXT, "number of the operator, never a name; name of the service"),
        column("address", TEXT, "address the call came from; empty for the service itself"),
        column("subject_kind", TEXT, "kind of what was changed"),
        column("subject_key", TEXT, "its key"),
        column("before", TEXT, "JSON before the change, secrets and persons masked; or empty"),
        column("after", TEXT, "JSON after the change, secrets and persons masked; or empty"),
        column("reason", TEXT, "why, as the caller wrote it"),
        column("request_id", TEXT, "request it came with; or empty"),
        column("proposal_id", BIG, "proposal that was applied; 0 for none"),
        column("outcome", TEXT, "done, refused"),
        check("audit_log_caller_kind", "caller_kind IN ('operator', 'service', 'local', 'none')"),
        check("audit_log_outcome", "outcome IN ('done', 'refused')"),
        key=["id"],
        comment="审计日志: one row for each administrative write, never changed",
        storage=_GROWING,
    )
    table(
        "audit_log_unsealed",
        column("id", BIG, "audit_log.id"),
        column("create_time", TIME, "of the row"),
        key=["id"],
        comment="审计日志待封存: rows that are in no block yet",
    )
    table(
        "audit_log_sealed",
        column("block_no", INT, "audit_log_block.block_no"),
        column("id", BIG, "audit_log.id"),
        column("digest", BYTES, "SHA-256 of the row"),
        key=["block_no", "id"],
        comment="审计日志封存: which row is in which block",
        storage=_GROWING,
    )
    index("audit_log_sealed_id", "audit_log_sealed", ["id"], unique=True)
    table(
        "audit_log_block",
        column("block_no", INT, "1, 2, 3 … without a gap"),
        column("row_count", INT, "rows in it"),
        column("first_id", BIG, "smallest number of its rows"),
        column("last_id", BIG, "greatest number of its rows"),
        column("rows_digest", BYTES, "SHA-256 of its rows' numbers and digests"),
        column("previous_digest", BYTES, "digest of the block before; zeros for the first"),
        column("digest", BYTES, "SHA-256 of all of the above"),
        column("key_id", TEXT, "key of the seal"),
        column("seal", BYTES, "HMAC-SHA-256 of the digest, under a key kept elsewhere"),
        column("create_time", TIME, "sealed"),
        key=["block_no"],
        comment="审计日志区块: the chain of sealed blocks",
        storage=_GROWING,
    )
