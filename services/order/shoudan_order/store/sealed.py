"""Everything that order has sealed."""

from __future__ import annotations

from typing import Final

from shoudan_kit.credentials.sealed import CREDENTIALS
from shoudan_kit.secrets.sealed_columns import accounts
from shoudan_order.tables import ACCOUNTS

SEALED: Final = (CREDENTIALS, accounts(ACCOUNTS))
