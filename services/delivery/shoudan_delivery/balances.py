"""Watches what suppliers have left of our money: a channel is held before its orders fail, and freed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Final

from shoudan_delivery import events
from shoudan_delivery.config import DeliverySettings
from shoudan_delivery.protocols import Unwritable, templates
from shoudan_delivery.protocols.templates.shape import Balance
from shoudan_delivery.states import SupplierState
from shoudan_delivery.store import suppliers as store
from shoudan_delivery.store.rows import Supplier, Unreadable
from shoudan_delivery.suppliers import Suppliers
from shoudan_kit import log, metrics
from shoudan_kit.db.errors import survived
from shoudan_kit.http.client import Answered, HttpClient, HttpResult
from shoudan_kit.money import micros_to_yuan, yuan_to_micros
from shoudan_kit.service import App

TICK_S: Final = 1.0
AT_ONCE_MAX: Final = 64  # suppliers asked at a time
LOW: Final = metrics.gauge(
    "suppliers_balance_low", "Supplier channels held because too little of our money is left there."
)
READ: Final = metrics.counter(
    "supplier_balance_reads_total",
    "Balances asked for, by outcome: read, or unread, which changes nothing.",
    ["outcome"],
)

_log = log.get_logger("balances")


class Balances:
    """Asks each supplier whose template says how, one process at a time, every `balance_every_s`."""

    def __init__(self, app: App[DeliverySettings], suppliers: Suppliers) -> None:
        self._app, self._suppliers = app, suppliers
        self._looking: set[tuple[str, int]] = set()
        settings = app.settings
        self._http = HttpClient(
            "supplier balances",
            guard=settings.supplier_guard(),
            connect_s=settings.connect_timeout_s,
            total_s=settings.query_timeout_s,
        )

    async def watch_forever(self) -> None:
        """While the database is away nothing changes; one supplier's mistake stops no other's."""
        try:
            async with asyncio.TaskGroup() as looks:
                while True:
                    for one in self._suppliers.all():
                        if self._is_watched(one):
                            self._looking.add(one.key)
                            looks.create_task(self._look(one))
                    LOW().set(sum(one.balance_low for one in self._suppliers.all()))
                    await asyncio.sleep(TICK_S)
        finally:
            with suppress(OSError):
                await self._http.aclose()

    def _is_watched(self, supplier: Supplier) -> bool:
        """Whether it is to be looked at: none twice at a time, so one that hangs delays itself alone."""
        free = supplier.key not in self._looking and len(self._looking) < AT_ONCE_MAX
        return free and supplier.enabled and watched(supplier) is not None

    async def _look(self, supplier: Supplier) -> None:
        try:
            with survived(_log, "balance_not_read"):
                await self.look(supplier)
        finally:
            self._looking.discard(supplier.key)

    async def look(self, supplier: Supplier) -> None:
        """Ask when it is time and no other process does."""
        balance = watched(supplier)
        if balance is None or not supplier.enabled or not await self._claim(supplier):
            return
        protocol = templates.of(supplier.template)
        call = protocol.balance(supplier, self._app.wall_clock.now())
        if isinstance(call, Unwritable):
            self._unread(supplier, call.why)
            return
        result: HttpResult = await self._http.send(
            call.method, call.url, headers=call.headers, body=call.body
        )
        if not isinstance(result, Answered):
            self._unread(supplier, result.reason)
            return
        left = protocol.read_balance(result.status, result.headers, result.body)
        if isinstance(left, Unreadable):
            self._unread(supplier, left.why)
            return
        READ("read").inc()
        await self._note(supplier, balance, left)

    async def _claim(self, supplier: Supplier) -> bool:
        async with self._app.db.connect() as db:  # one statement, committed when it returns
            return await store.claim_balance(db, supplier.key, self._app.settings.balance_every_s)

    def _unread(self, supplier: Supplier, why: str) -> None:
        READ("unread").inc()
        _log.warning("balance_unread", channel_no=supplier.channel_no, why=why)

    async def _note(self, supplier: Supplier, balance: Balance, left: int) -> None:
        low, enough = yuan_to_micros(balance.hold_below), yuan_to_micros(balance.release_from)
        async with self._app.work("delivery.balance") as work:
            turned = await store.note_balance(work.db, supplier.key, left, low, enough)
            if turned is not None:
                state = SupplierState.HELD if turned else SupplierState.OPEN
                words = f"balance: {micros_to_yuan(left)} yuan left"
                events.switched(work, replace(supplier, balance_low=turned), state, words)
        if turned is not None:
            _log.warning(
                "balance_low" if turned else "balance_enough", channel_no=supplier.channel_no
            )
            await self._suppliers.refresh()


def watched(supplier: Supplier) -> Balance | None:
    """How the balance of a channel is asked for; None when it is not."""
    return templates.parsed(supplier.template).balance if supplier.template else None
