"""This process's part of what a supplier takes at a time: shares of totals over all delivery processes."""

from __future__ import annotations

from shoudan_delivery.config import DeliverySettings
from shoudan_delivery.store.rows import Supplier
from shoudan_kit.clock import Clock
from shoudan_kit.limits.shares import Shares


def send_party(supplier: Supplier) -> str:
    """Under which name the calls of a channel are shared."""
    return f"{supplier.channel_no}/{supplier.service_class}"


def query_party(supplier: Supplier) -> str:
    """Under which name its queries are."""
    return f"query {send_party(supplier)}"


class SharedLimits:
    """Decides from memory; one place at least, or a replica could not serve a small supplier at all."""

    def __init__(self, settings: DeliverySettings, shares: Shares, clock: Clock) -> None:
        self._settings, self._shares, self._clock = settings, shares, clock

    def calls(self, supplier: Supplier) -> int:
        """Calls in flight that begin here at most."""
        return self._part(supplier.concurrency_max, send_party(supplier))

    def queries(self, supplier: Supplier) -> int:
        """Queries in flight here at most."""
        return self._part(self._settings.query_concurrency_max, query_party(supplier))

    def _part(self, total: int, party: str) -> int:
        return max(1, int(total * self._shares.of(party, self._clock.monotonic()) + 1e-9))
