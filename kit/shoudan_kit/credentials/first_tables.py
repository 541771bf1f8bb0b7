"""The table of credentials as one revision of each service makes it; frozen, as revisions are."""

from __future__ import annotations

from shoudan_kit.db.revising import BIG, BYTES, SMALL, TEXT, TIME, check, column, index, table


def create_tables() -> None:
    """Sealed secrets with their times, and who stored them."""
    table(
        "credential",
        column("credential_id", BIG, "number"),
        column("kind", TEXT, "what it is for: channel, erp, supplier …"),
        column("owner", TEXT, "whose: channel, sender, supplier …"),
        column("sealed", BYTES, "encrypted: the secret, bound to number, kind and owner"),
        column("fingerprint", TEXT, "first eight hexadecimal digits of its SHA-256"),
        column("status", SMALL, "states.CredentialStatus"),
        column("not_before", TIME, "in force from then on; null: at once", null=True),
        column("expire_time", TIME, "in force until then; null: until further notice", null=True),
        column("last_used_time", TIME, "when it last fitted, to the minute", null=True),
        column("version", BIG, "rises with each change of any credential here"),
        column("request_key", TEXT, "of the call that stored it"),
        column("content_hash", BYTES, "keyed digest of that call, to know its repeats"),
        column("created_by", TEXT, "who stored it"),
        column("reason", TEXT, "why"),
        column("create_time", TIME, "when"),
        column("ended_by", TEXT, "who revoked it", null=True),
        column("ended_reason", TEXT, "why it was revoked", null=True),
        check("credential_status", "status IN (10, 20, 90, 91)"),
        key=["credential_id"],
        comment="凭证: secrets of partners, suppliers and platforms",
    )
    index("credential_request", "credential", ["request_key"], unique=True)
    index("credential_version", "credential", ["version"])
    index("credential_owner", "credential", ["kind", "owner", "credential_id"])
    index("credential_live", "credential", ["credential_id"], where="status IN (10, 20)")
