"""Orders under way, kept in the memory of the process that took them. Decision 0013."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from shoudan_kit.tasks.covers import Cover
from shoudan_order.store.rows import Delivery, Order


@dataclass(slots=True)
class CachedOrder:
    """An order under way in this process: its facts and parts, and the task that stands for its steps."""

    order: Order
    cover: Cover
    deliveries: dict[int, Delivery] = field(default_factory=dict[int, Delivery])
    # Of them those whose success was heard here: what they cost is known, of others what was planned.
    costed: set[int] = field(default_factory=set[int])


class OrdersInMemory:
    """Orders this process created and has not ended. A cache: what is missing is read."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._orders: dict[int, CachedOrder] = {}

    def put(self, cached: CachedOrder) -> None:
        """Cache an order; at the bound the oldest is evicted."""
        if self._most:
            if len(self._orders) >= self._most:
                self._orders.pop(next(iter(self._orders)))
            self._orders[cached.order.order_id] = cached

    def get(self, order_id: int) -> CachedOrder | None:
        """The order, if it is cached here."""
        return self._orders.get(order_id)

    def cover(self, order_id: int) -> Cover | None:
        """What may stand for steps of an order that this process took."""
        cached = self._orders.get(order_id)
        return None if cached is None else cached.cover

    def drop(self, order_ids: Iterable[int]) -> None:
        """Evict orders that have ended."""
        for order_id in order_ids:
            self._orders.pop(order_id, None)

    def ended(self, order_id: int, delivery_id: int) -> None:
        """Evict a part with no step left, and the order with its last part."""
        cached = self._orders.get(order_id)
        if cached is not None:
            cached.deliveries.pop(delivery_id, None)
            if not cached.deliveries:
                del self._orders[order_id]

    def __len__(self) -> int:
        return len(self._orders)
