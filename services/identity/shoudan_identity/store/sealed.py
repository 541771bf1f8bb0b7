"""Everything that identity has sealed."""

from __future__ import annotations

from typing import Final

from shoudan_kit.secrets.sealed_columns import BIGINT, Bytes, SealedValues

_OPERATOR: Final = Bytes("operator", lambda row: row.operator_id)

SEALED: Final = (
    SealedValues("operator", "totp_sealed", {"operator_id": BIGINT}, _OPERATOR),
    SealedValues("operator", "totp_next_sealed", {"operator_id": BIGINT}, _OPERATOR),
    SealedValues(
        "signing_key",
        "sealed",
        {"key_no": BIGINT},
        Bytes("signing_key", lambda row: row.key_no),
    ),
)
