"""Reports to the order service which kinds of goods our own stock has, so that shelves say when it runs out.

Every process looks, and reports what is otherwise than at its last look; the first look reports everything.
Of two that report the same the second changes nothing.
"""

from __future__ import annotations

import asyncio
from typing import Final

from shoudan_delivery.config import DeliverySettings
from shoudan_delivery.kinds import StatedPrice
from shoudan_delivery.prices import enqueue
from shoudan_delivery.stock import PROTOCOL
from shoudan_delivery.store import stock as store
from shoudan_delivery.store.stock import Goods
from shoudan_delivery.suppliers import Suppliers
from shoudan_kit import log
from shoudan_kit.db.errors import survived
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.service import App

TICK_S: Final = 1.0

_log = log.get_logger("stock_states")


class StockStates:
    """What this process has reported of each kind of goods."""

    def __init__(self, app: App[DeliverySettings], suppliers: Suppliers) -> None:
        self._app, self._suppliers = app, suppliers
        self._reported: dict[Goods, bool] = {}

    async def follow_forever(self) -> None:
        """Look every TICK_S; while the database is away nothing is reported."""
        while True:
            with survived(_log, "stock_states_not_read"):
                await self.look()
            await asyncio.sleep(TICK_S)

    async def look(self) -> None:
        """Report what is otherwise than it was; nothing is read where no channel is our own stock."""
        if not any(one.protocol == PROTOCOL for one in self._suppliers.all()):
            return
        async with self._app.db.connect() as db:
            now, found = await store.states(db)
        changed = {
            goods: there for goods, there in found.items() if self._reported.get(goods) is not there
        }
        if not changed:
            return
        stated = [
            StatedPrice(
                goods.channel_no,
                f"{goods.carrier_no}/{micros_to_yuan(goods.face_micros)}",
                now,
                available=there,
                carrier_no=goods.carrier_no,
                face_micros=goods.face_micros,
            )
            for goods, there in changed.items()
        ]
        async with self._app.work("stock.states") as work:
            enqueue(work, stated)
        self._reported |= changed
