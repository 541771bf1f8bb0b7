"""The sub-commands of `shoudan` that the pay service brings along."""

from __future__ import annotations

from typing import Final

from shoudan_kit.command_list import Command

ACCOUNT: Final = Command(
    "shoudan_pay.commands:account", "Accounts: make, lock, credit, move by hand."
)
LEDGER: Final = Command("shoudan_pay.commands:ledger", "The ledger: prove it, look into it.")
PLATFORM: Final = Command(
    "shoudan_pay.commands.platform:app", "ChinaUMS and Dingdang: who may call, what is owed."
)
