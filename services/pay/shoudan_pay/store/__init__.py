"""Statements of the pay service: set-based, each takes a batch whatever its size."""
