"""The sub-command of `shoudan` that ERP ingest brings along."""

from __future__ import annotations

from typing import Final

from shoudan_kit.command_list import Command

ERP: Final = Command(
    "shoudan_erp_ingest.commands:app",
    "What ERPs push: search, reprocess, reveal, erase.",
)
