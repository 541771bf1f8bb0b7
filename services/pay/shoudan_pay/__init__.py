"""The pay service: ledger accounts, records, service packages and payments."""
