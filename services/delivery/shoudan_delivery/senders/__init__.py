"""All senders of this process: made when a channel is first seen, updated when it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from shoudan_delivery.senders.sender import Sender
from shoudan_delivery.store.rows import Supplier
from shoudan_kit.limits.shares import Counts


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

    def asked(self, _seconds: float) -> Mapping[str, float]:
        """What part of its total each channel asks of this process."""
        return {party: part for one in self.all() for party, part in one.asked().items()}

    def used(self) -> Mapping[str, float]:
        """What part of its total each channel uses in this process."""
        return {party: part for one in self.all() for party, part in one.used().items()}

    def counts(self) -> Mapping[str, Counts]:
        """Answers that breakers have counted here since the start."""
        return {
            party: counts for party, counts in (one.counts() for one in self.all()) if counts.calls
        }

    def received(self, counts: Mapping[str, Counts]) -> None:
        """What the other processes have counted since the last beat."""
        for one in self.all():
            one.received(counts.get(one.counts()[0]))

    async def aclose(self, drain_s: float) -> None:
        """Let calls under way end, all channels at the same time."""
        await asyncio.gather(*(one.aclose(drain_s) for one in self.all()))
