"""The sub-command of `shoudan` that the identity service brings along."""

from __future__ import annotations

from typing import Final

from shoudan_kit.command_list import Command

OPERATOR: Final = Command(
    "shoudan_identity.commands:app",
    "Operators: roles, sessions, API tokens, keys.",
)
