"""What the rules of this service work with: settings, catalogue, orders in memory, the other services."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.secrets.sealing import SealedColumn
from shoudan_kit.service import App
from shoudan_kit.tasks.kinds import Kind
from shoudan_order.catalogue.model import Catalogue
from shoudan_order.config import OrderSettings
from shoudan_order.delivery_client import Suppliers
from shoudan_order.kinds import QUEUE_COLUMNS
from shoudan_order.pay_client import Ledger
from shoudan_order.store import orders as store
from shoudan_order.store.rows import Delivery, Order
from shoudan_order.tables import QUEUES


@dataclass(slots=True)
class Held:
    """An order under way in this process: its facts, parts and the tasks to drop at its end."""

    order: Order
    overtime_task: int
    deliveries: dict[int, Delivery] = field(default_factory=dict[int, Delivery])
    deliver_tasks: dict[int, int] = field(default_factory=dict[int, int])


class OrdersInMemory:
    """Orders this process took and has not ended. Only a saving: whatever is missing is read."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[int, Held] = {}

    def put(self, held: Held) -> None:
        """Keep an order; the oldest makes room."""
        if self._most:
            if len(self._held) >= self._most:
                self._held.pop(next(iter(self._held)))
            self._held[held.order.order_id] = held

    def get(self, order_id: int) -> Held | None:
        """What is known here."""
        return self._held.get(order_id)

    def drop(self, order_ids: Iterable[int]) -> None:
        """Forget orders that have ended."""
        for order_id in order_ids:
            self._held.pop(order_id, None)

    def ended(self, order_id: int, delivery_id: int) -> None:
        """Forget a part that needs no step any more, and the order with its last one."""
        held = self._held.get(order_id)
        if held is not None:
            held.deliveries.pop(delivery_id, None)
            if not held.deliveries:
                del self._held[order_id]

    def __len__(self) -> int:
        return len(self._held)


@dataclass
class Context:
    """One process's order service."""

    app: App[OrderSettings]
    ledger: Ledger
    suppliers: Suppliers
    memory: OrdersInMemory
    accounts: SealedColumn
    catalogue: Catalogue = field(default_factory=Catalogue)
    loaded: bool = False
    notifier: object = None

    @property
    def settings(self) -> OrderSettings:
        """The knobs."""
        return self.app.settings

    def queue(self, line_id: int, kind: Kind[Any]) -> str:
        """The queue of a step for a line: the line's own column."""
        line = self.catalogue.lines.get(line_id)
        column = QUEUE_COLUMNS[kind.name]
        return (line.queues.get(column) if line else None) or QUEUES[column][0]

    def serves(self, line_id: int, kind: Kind[Any]) -> bool:
        """Whether this process would run that step of the line at once, so that steps may be fused."""
        worker = self.app.worker
        return worker is not None and worker.accepts(kind, self.queue(line_id, kind))

    async def orders(
        self, order_ids: Iterable[int], db: AsyncConnection | None = None
    ) -> dict[int, Order]:
        """Orders as sold, from memory or read (on `db` where a transaction is under way)."""
        found: dict[int, Order] = {}
        missing: list[int] = []
        for order_id in order_ids:
            held = self.memory.get(order_id)
            if held is not None:
                found[order_id] = held.order
            else:
                missing.append(order_id)
        if missing and db is not None:
            found |= await store.order_facts(db, missing)
        elif missing:
            async with self.app.db.connect() as connection:
                found |= await store.order_facts(connection, missing)
        return found
