"""Everything that delivery has sealed."""

from __future__ import annotations

from typing import Final

from shoudan_delivery.tables import ACCOUNTS
from shoudan_kit.credentials.sealed import CREDENTIALS
from shoudan_kit.secrets.sealed_columns import accounts

SEALED: Final = (CREDENTIALS, accounts(ACCOUNTS))
