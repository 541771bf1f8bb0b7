"""The servicers of erp_ingest: messages to dataclasses and back, shape checks, no rules."""
