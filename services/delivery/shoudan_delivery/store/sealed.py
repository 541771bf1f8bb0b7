"""Everything that delivery has sealed."""

from __future__ import annotations

from typing import Final

from shoudan_delivery.tables import ACCOUNTS, CARD_INFO
from shoudan_kit.credentials.sealed import CREDENTIALS
from shoudan_kit.secrets.sealed_columns import BIGINT, Bytes, SealedValues, accounts

CARDS: Final = SealedValues(
    CARD_INFO.name, "sealed", {"card_id": BIGINT}, Bytes(CARD_INFO.name, lambda row: row.card_id)
)
SEALED: Final = (CREDENTIALS, accounts(ACCOUNTS), CARDS)
