"""What the order service does in the background, declared as data."""

from __future__ import annotations

from typing import Any, Final

from shoudan_kit.tasks.kinds import Handler, handles
from shoudan_order import (
    deliveries,
    endpoint_notices,
    goods_changes,
    kinds,
    notifies,
    payments,
    returns,
    shelf_notices,
    timeouts,
    transfers,
)
from shoudan_order.catalogue import supplier_prices

HANDLERS: Final[tuple[Handler[Any], ...]] = (
    handles(kinds.PAY)(payments.pay),
    handles(kinds.BIND)(deliveries.bind),
    handles(kinds.DELIVER)(deliveries.deliver),
    handles(kinds.UP_PAY)(transfers.pay_up),
    handles(kinds.NOTIFY)(notifies.send),
    handles(kinds.TIMEOUT)(timeouts.time_out),
    handles(kinds.DELIVERY_UNKNOWN)(timeouts.delivery_unknown),
    handles(kinds.ORDER_REFUND)(transfers.refund_order),
    handles(kinds.RETURN)(returns.send),
    handles(kinds.DOWN_REFUND)(transfers.refund_down),
    handles(kinds.UP_REFUND)(transfers.refund_up),
    handles(kinds.REFUND_NOTIFY)(notifies.send),
    handles(kinds.REFUND_TIMEOUT)(timeouts.refund_time_out),
    handles(kinds.RETURN_UNKNOWN)(timeouts.return_unknown),
    handles(kinds.ENDPOINT)(endpoint_notices.send),
    handles(kinds.PRICE)(supplier_prices.enforce),
    handles(kinds.SHELF)(shelf_notices.send),
    handles(kinds.GOODS)(goods_changes.send),
)
