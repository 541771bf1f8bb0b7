"""The tables of the identity service."""
