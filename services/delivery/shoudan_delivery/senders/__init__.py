"""All senders of this process: made when a channel is first seen, updated when it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from shoudan_delivery.senders.sender import Sender
from shoudan_delivery.store.rows import Supplier


class Senders:
    """One sender per channel and service class."""

    def __init__(self, make: Callable[[Supplier], Sender]) -> None:
        self._make = make
        self._senders: dict[tuple[str, int], Sender] = {}

    def of(self, channel_no: str, service_class: int) -> Sender | None:
        """The sender of a channel; None for one this process has not seen yet."""
        return self._senders.get((channel_no, service_class))

    def all(self) -> list[Sender]:
        """Every sender."""
        return list(self._senders.values())

    def update(self, supplier: Supplier) -> None:
        """A channel was added, configured or switched."""
        sender = self._senders.get(supplier.key)
        if sender is None:
            self._senders[supplier.key] = self._make(supplier)
        else:
            sender.update(supplier)

    async def aclose(self, drain_s: float) -> None:
        """Let calls under way end, all channels at the same time."""
        await asyncio.gather(*(one.aclose(drain_s) for one in self.all()))
