"""The gateway: every documented HTTP endpoint, partner by partner."""
