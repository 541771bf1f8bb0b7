"""The sealed column of credentials, for `shoudan keys rotate`."""

from __future__ import annotations

from typing import Final

from shoudan_kit.credentials.book import place_of
from shoudan_kit.credentials.tables import NAME
from shoudan_kit.secrets.sealed_columns import BIGINT, Bytes, SealedValues

CREDENTIALS: Final = SealedValues(
    NAME,
    "sealed",
    {"credential_id": BIGINT},
    Bytes(NAME, lambda row: place_of(row.credential_id, row.kind, row.owner)),
    more=("kind", "owner"),
)
