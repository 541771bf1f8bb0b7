"""The sub-command of `shoudan` that the gateway brings along."""

from __future__ import annotations

from typing import Final

from shoudan_kit.command_list import Command

TOKEN: Final = Command(
    "shoudan_gateway.commands:app",
    "PayServer's tokens, for development.",
)
