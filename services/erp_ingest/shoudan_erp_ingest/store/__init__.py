"""Statements, all set-based, and what is encrypted on the way."""
