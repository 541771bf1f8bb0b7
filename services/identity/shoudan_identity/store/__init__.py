"""Statements of the identity service."""
