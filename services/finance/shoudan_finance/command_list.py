"""The sub-command of `shoudan` that the finance service brings along."""

from __future__ import annotations

from typing import Final

from shoudan_kit.command_list import Command

FINANCE: Final = Command(
    "shoudan_finance.commands:app",
    "The books (财务): accounting days and the proof that they are complete.",
)
