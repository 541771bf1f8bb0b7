"""The table of credentials, alike in every service that owns some."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Index, LargeBinary, MetaData, SmallInteger, Table, Text, text

from shoudan_kit.credentials.states import CREDENTIAL, CredentialEvent
from shoudan_kit.db.columns import column, maybe, moment, one_of
from shoudan_kit.db.foundation import rights
from shoudan_kit.db.moves import lifecycles

NAME: Final = "credential"
LIVE: Final = CREDENTIAL.where(CredentialEvent.EXPIRED)


def declare(made: MetaData) -> Table:
    """Add the table to a service's MetaData."""
    return Table(
        NAME,
        made,
        column("credential_id", BigInteger, "number", key=True),
        column("kind", Text, "what it is for: channel, erp, supplier …"),
        column("owner", Text, "whose: channel, sender, supplier …"),
        column("sealed", LargeBinary, "encrypted: the secret, bound to number, kind and owner"),
        column("fingerprint", Text, "first eight hexadecimal digits of its SHA-256"),
        column("status", SmallInteger, "states.CredentialStatus"),
        moment("not_before", "in force from then on; null: at once", null=True),
        moment("expire_time", "in force until then; null: until further notice", null=True),
        moment("last_used_time", "when it last fitted, to the minute", null=True),
        column("version", BigInteger, "rises with each change of any credential here"),
        column("request_key", Text, "of the call that stored it"),
        column("content_hash", LargeBinary, "keyed digest of that call, to know its repeats"),
        column("created_by", Text, "who stored it"),
        column("reason", Text, "why"),
        moment("create_time", "when"),
        maybe("ended_by", Text, "who revoked it"),
        maybe("ended_reason", Text, "why it was revoked"),
        Index("credential_request", "request_key", unique=True),
        Index("credential_version", "version"),
        Index("credential_owner", "kind", "owner", "credential_id"),
        Index("credential_live", "credential_id", postgresql_where=text(LIVE)),
        one_of("status", sorted(CREDENTIAL.states)),
        comment="凭证: secrets of partners, suppliers and platforms",
        info=rights(
            update=(
                "sealed",
                "status",
                "expire_time",
                "last_used_time",
                "version",
                "ended_by",
                "ended_reason",
            )
        )
        | lifecycles(status=CREDENTIAL.moves),
    )
