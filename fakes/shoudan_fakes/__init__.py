"""The outside world for demos and tests: suppliers, payment components, notify inbox."""
