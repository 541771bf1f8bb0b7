"""Showing orders to people."""

from __future__ import annotations

from shoudan_order.context import Context
from shoudan_order.refusals import NotFound, OrderNotFound
from shoudan_order.store import views as store


async def order(context: Context, order_id: int, key: tuple[str, str]) -> store.OrderView:
    """One order whole. Refuses: OrderNotFound, NotFound."""
    async with context.app.db.connect() as db:
        found = await store.view_order(db, order_id, key)
    if found is None:
        raise NotFound("order", order_id) if order_id else OrderNotFound(*key)
    return found


async def orders(context: Context, wanted: store.OrderFilter) -> tuple[list[store.OrderView], str]:
    """Orders without their parts, newest first, and the token of the next page."""
    async with context.app.db.connect() as db:
        return await store.view_orders(db, wanted)
