"""Cards of an order for its channel: the delivery service keeps them, order says which are the channel's."""

from __future__ import annotations

import msgspec

from shoudan_kit.db.text_statements import holdable
from shoudan_order.context import Context
from shoudan_order.delivery_client import CardPage, CardQuery
from shoudan_order.refusals import NonceUsed, OrderNotFound
from shoudan_order.states import DeliveryStatus
from shoudan_order.store import deliveries as delivery_store
from shoudan_order.store import nonces
from shoudan_order.store import orders as order_store
from shoudan_order.store.nonces import CallNonce
from shoudan_order.store.rows import OrderSummary


class Wanted(msgspec.Struct, frozen=True):
    """A page of the cards of one order, as its channel asks for it."""

    channel_no: str
    request_no: str
    page_size: int
    page_token: str
    nonce: CallNonce | None
    remote_ip: str


async def fetch(context: Context, wanted: Wanted) -> tuple[OrderSummary, CardPage]:
    """The order and a page of the cards of what was delivered of it.

    The nonce is used up whatever follows. Refuses OrderNotFound, NonceUsed and as the delivery service.
    """
    key = (wanted.channel_no, wanted.request_no)
    async with context.app.work("order.cards") as work:
        if wanted.nonce and await nonces.use_nonces(work.db, [wanted.nonce]):
            raise NonceUsed(wanted.channel_no)
        found = await order_store.orders_by_keys(work.db, [key] if holdable(key) else [])
        order = found.get(key)
        parts = await delivery_store.deliveries_of(work.db, [order.order_id] if order else [])
    if order is None:
        raise OrderNotFound(*key)
    delivered = [
        one.delivery.delivery_id for one in parts if one.delivery_status == DeliveryStatus.SUCCEEDED
    ]
    if not delivered:
        return order, CardPage([], "")
    query = CardQuery(
        delivered,
        wanted.channel_no,
        order.order_id,
        wanted.page_size,
        wanted.page_token,
        wanted.remote_ip,
    )
    return order, await context.delivery_client.cards(query)
