"""What endpoints of channels are owed: added to the transaction that makes it true, body and all.

A channel without endpoints costs a look into the catalogue in memory and nothing else. Decision 0074.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import kinds
from shoudan_order.catalogue import endpoints
from shoudan_order.catalogue.endpoints import DOCUMENTED
from shoudan_order.context import Context
from shoudan_order.delivery_client import VOUCHER
from shoudan_order.notify_words import order_facts, refund_facts
from shoudan_order.states import OrderStatus, RefundStatus
from shoudan_order.store.refunds import Refund
from shoudan_order.store.rows import Order

DELIVERED: Final = frozenset({OrderStatus.SUCCEEDED, OrderStatus.PARTIAL})
PRODUCTS_MAX: Final = 100  # that a notify of shelves names
# By the word in a notice's body, the event it is for endpoints.
OF_NOTICES: Final = {
    "balance_low": endpoints.BALANCE_ALERT,
    "balance_recovered": endpoints.BALANCE_ALERT,
    "bill_ready": endpoints.BILL_READY,
}


def owe_order(
    context: Context, work: UnitOfWork, order: Order, status: OrderStatus, code: str, message: str
) -> None:
    """Owe the endpoints of its channel that an order has ended, and that its codes are to be fetched."""
    if order.down_channel_no not in context.catalogue.endpoints_of:
        return
    facts = order_facts(order, status, code, message, words=_words(context, order.down_channel_no))
    key = f"order_{order.order_id}_{int(status)}"
    owe(context, work, (endpoints.ORDER_ENDED, key), facts, order.order_id)
    line = context.catalogue.lines.get(order.line_id)
    if status in DELIVERED and line is not None and line.service_class == VOUCHER:
        named = {name: facts[name] for name in ("channel_no", "request_no", "order_id")}
        about = endpoints.CARDS_ISSUED, f"cards_{order.order_id}"
        owe(context, work, about, {"event": "cards_issued", **named}, order.order_id)


def owe_refund(context: Context, work: UnitOfWork, refund: Refund) -> None:
    """Owe the endpoints of its channel that a refund has ended."""
    if refund.down_channel_no not in context.catalogue.endpoints_of:
        return
    status = RefundStatus(refund.refund_status)
    facts = refund_facts(refund, status, words=_words(context, refund.down_channel_no))
    key = f"refund_{refund.refund_id}_{facts['status']}"
    owe(context, work, (endpoints.REFUND_ENDED, key), facts, refund.order_id)


def owe_shelves(
    context: Context, work: UnitOfWork, version: int, changed: Mapping[str, Sequence[int]]
) -> None:
    """Owe the endpoints of each channel that a version changed what it sees of these products.

    It names them and shows none of them: what they are by then is asked for, so a lost one loses nothing.
    """
    for channel_no, product_ids in changed.items():
        facts = {
            "event": "shelf_changed",
            "channel_no": channel_no,
            "version": str(version),
            "count": len(product_ids),
            "product_ids": [str(one) for one in product_ids[:PRODUCTS_MAX]],
        }
        owe(context, work, (endpoints.SHELF_CHANGED, f"shelf_{channel_no}_{version}"), facts)


def owe(
    context: Context,
    work: UnitOfWork,
    about: tuple[str, str],
    facts: Mapping[str, Any],
    order_id: int = 0,
) -> int:
    """Owe an event to each endpoint of its channel that wants it; how many do. `about`: event and its key.

    An endpoint is sent a key once, however often it is owed.
    """
    (event, key), channel_no = about, str(facts["channel_no"])
    wanting = [
        one for one in context.catalogue.endpoints_of.get(channel_no, ()) if one.wants(event)
    ]
    now = context.app.clock.now()
    for one in wanting:
        body = body_of(event, facts, one.body_version, now).decode()
        step = kinds.EndpointStep(one.endpoint_no, channel_no, key, event, body, order_id)
        work.tasks.add(kinds.ENDPOINT, step, order_no=step.order_no, trace_keys=[str(order_id)])
    return len(wanting)


def body_of(event: str, facts: Mapping[str, Any], version: int, now: datetime) -> bytes:
    """What is sent: the documented body, or in version 1 the envelope of Standard Webhooks around it."""
    if version == DOCUMENTED:
        return orjson.dumps(facts)
    moment = now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return orjson.dumps({"type": event, "timestamp": moment, "data": facts})


def _words(context: Context, channel_no: str) -> bool:
    channel = context.catalogue.down_channels.get(channel_no)
    return channel is not None and channel.word_status
