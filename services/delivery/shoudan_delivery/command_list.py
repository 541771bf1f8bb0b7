"""The sub-commands of `shoudan` that the delivery service brings along."""

from __future__ import annotations

from typing import Final

from shoudan_kit.command_list import Command

CHANNEL: Final = Command(
    "shoudan_delivery.commands:app",
    "Supplier channels: list, suspend, hold.",
)
CARDS: Final = Command(
    "shoudan_delivery.card_commands:app",
    "Cards (卡密): list, reveal, make void; our own stock.",
)
