"""What suppliers state of their prices and stock: by a signed notify, or asked for on a schedule."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final

from shoudan_delivery.config import DeliverySettings
from shoudan_delivery.kinds import PRICES, Prices, StatedPrice
from shoudan_delivery.protocols import Unwritable, templates
from shoudan_delivery.protocols.prices import stated_price
from shoudan_delivery.store import suppliers as store
from shoudan_delivery.store.rows import Supplier, Unreadable
from shoudan_delivery.suppliers import Suppliers
from shoudan_kit import log, metrics
from shoudan_kit.db.errors import survived
from shoudan_kit.http.client import Answered, HttpClient, HttpResult
from shoudan_kit.service import App
from shoudan_kit.tasks.unit_of_work import UnitOfWork

TICK_S: Final = 1.0
AT_ONCE_MAX: Final = 64  # suppliers asked at a time
REPORT_MAX: Final = 500  # statements of one task
PRODUCTS_MAX: Final = 10_000  # of one answer; more is unread
DOUBLINGS_MAX: Final = 5  # of the wait after answers that could not be read
JITTER: Final = 0.1
READ: Final = metrics.counter(
    "supplier_price_reads_total",
    "Price lists asked for, by outcome: read, or unread, which changes nothing.",
    ["outcome"],
)

_log = log.get_logger("prices")


def enqueue(work: UnitOfWork, stated: Sequence[StatedPrice]) -> None:
    """Add the tasks that report these to the order service."""
    for start in range(0, len(stated), REPORT_MAX):
        work.tasks.add(PRICES, Prices(list(stated[start : start + REPORT_MAX])))


class PricePolls:
    """Asks each supplier whose template says how, one process at a time, every `price_every_s`."""

    def __init__(self, app: App[DeliverySettings], suppliers: Suppliers) -> None:
        self._app, self._suppliers = app, suppliers
        self._looking: set[tuple[str, int]] = set()
        settings = app.settings
        self._http = HttpClient(
            "supplier prices",
            guard=settings.supplier_guard(),
            connect_s=settings.connect_timeout_s,
            total_s=settings.query_timeout_s,
        )

    async def poll_forever(self) -> None:
        """While the database is away nothing changes; one supplier's mistake stops no other's."""
        try:
            async with asyncio.TaskGroup() as looks:
                while True:
                    for one in self._suppliers.all():
                        if self._is_due(one):
                            self._looking.add(one.key)
                            looks.create_task(self._look(one))
                    await asyncio.sleep(TICK_S)
        finally:
            with suppress(OSError):
                await self._http.aclose()

    def _is_due(self, supplier: Supplier) -> bool:
        """Whether it may be asked: none twice at a time, so one that hangs delays itself alone."""
        free = supplier.key not in self._looking and len(self._looking) < AT_ONCE_MAX
        return free and supplier.enabled and has_price(supplier)

    async def _look(self, supplier: Supplier) -> None:
        try:
            with survived(_log, "prices_not_read"):
                await self.look(supplier)
        finally:
            self._looking.discard(supplier.key)

    async def look(self, supplier: Supplier) -> None:
        """Ask when it is time and no other process does. What cannot be read is asked for later each time."""
        every_s = self._app.settings.price_every_s
        if not supplier.enabled or not has_price(supplier):
            return
        async with self._app.db.connect() as db:  # one statement, committed when it returns
            claim = await store.claim_prices(db, supplier.key, _spread(every_s), DOUBLINGS_MAX)
        if claim is None:
            return
        found = await self._ask(supplier, claim)
        if isinstance(found, Unreadable):
            READ("unread").inc()
            _log.warning("prices_unread", channel_no=supplier.channel_no, why=found.why)
            return
        READ("read").inc()
        async with self._app.work("delivery.prices") as work:
            enqueue(work, found)
            await store.note_prices(work.db, supplier.key, _spread(every_s))

    async def _ask(self, supplier: Supplier, as_of: datetime) -> list[StatedPrice] | Unreadable:
        protocol = templates.of(supplier.template)
        call = protocol.price(supplier, self._app.wall_clock.now())
        if isinstance(call, Unwritable):
            return Unreadable(call.why)
        result: HttpResult = await self._http.send(
            call.method, call.url, headers=call.headers, body=call.body
        )
        if not isinstance(result, Answered):
            return Unreadable(result.reason)
        found = protocol.read_price_list(result.status, result.headers, result.body)
        if isinstance(found, Unreadable):
            return found
        if len(found) > PRODUCTS_MAX:
            return Unreadable(f"more than {PRODUCTS_MAX} products")
        try:
            return [
                stated_price(supplier.channel_no, product, as_of, price=price, stock=stock)
                for product, price, stock in found
            ]
        except ValueError as error:
            return Unreadable(str(error))


def has_price(supplier: Supplier) -> bool:
    """Whether a channel's template says how to ask for prices."""
    return bool(supplier.template) and templates.parsed(supplier.template).price is not None


def _spread(every_s: float) -> float:
    return every_s * random.uniform(1 - JITTER, 1 + JITTER)
