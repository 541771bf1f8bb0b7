"""The audit log: who changed what, one append-only row each, sealed in blocks."""
