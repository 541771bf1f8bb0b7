"""The ledger (000): accounts, postings, packages, the chain of records and its statements."""
