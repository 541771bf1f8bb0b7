"""The books' facts: every movement of every closed accounting day, once, proved to be the ledger's."""
