"""`shoudan ledger ...` proves and looks; `shoudan account ...` makes accounts and moves money by hand."""

from __future__ import annotations

from shoudan_pay.commands.account import account
from shoudan_pay.commands.archive_proof import prove_archive
from shoudan_pay.commands.day_proof import day
from shoudan_pay.commands.ledger import ledger
from shoudan_pay.commands.statements import keys, seal, verify

for _command in (verify, seal, keys, day):
    ledger.command()(_command)
ledger.command("prove-archive")(prove_archive)

__all__ = ["account", "ledger"]
