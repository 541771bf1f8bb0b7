"""Operators: who they are, what they may do, sessions, API tokens and the keys that sign tokens."""
