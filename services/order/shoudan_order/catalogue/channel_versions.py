"""Which version of the channels' protocol a channel is pinned to: a new one to the newest. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from shoudan_order.catalogue.index import Catalogue
from shoudan_order.catalogue.model import DownChannel

NEWEST: Final = "2026-12-01"  # of those that the gateway speaks; a test holds them together


def pinned(now: Catalogue, given: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
    """The rows; a channel that names no version keeps its own, a new one gets the newest."""
    channels = given.get("down_channels", ())
    return {**given, "down_channels": [_pinned(now, one) for one in channels]}


def _pinned(now: Catalogue, row: DownChannel) -> DownChannel:
    if row.api_version:
        return row
    there = now.down_channels.get(row.channel_no)
    return replace(row, api_version=NEWEST if there is None else there.api_version)
